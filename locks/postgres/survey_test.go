package postgres_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/locks/postgres"
	"github.com/lockaudit/lockaudit/survey"
)

func survey1(t *testing.T, asked locks.Target, o survey.Options) survey.Survey {
	t.Helper()
	if o.Limit == 0 {
		o.Limit = 1000
	}
	o.For, o.Progress = 300*time.Millisecond, func(string, time.Time) {}
	s, err := postgres.Driver{}.Survey(t.Context(), asked, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSurveyFindsStandbys, which of them are synchronous, and from a standby the way to
// where locks are taken.
func TestSurveyFindsStandbys(t *testing.T) {
	t.Parallel()
	template := servers.NewPostgresTemplate(t)
	primary := template.Start(t, "synchronous_standby_names=walreceiver")
	standby := template.StartIn(t, template.Copy(t, primary))
	asked := target(primary, "")
	var s survey.Survey
	for deadline := time.Now().Add(20 * time.Second); ; { // it connects when it is ready
		if s = survey1(t, asked, survey.Options{}); strings.Contains(s.Topology, "1 of them synchronous") || time.Now().After(deadline) {
			break
		}
	}
	if s.Topology != "a primary with 1 standby, 1 of them synchronous" || len(s.Others) != 1 || s.Others[0].Role != "standby" || len(s.Endpoints) != 1 {
		t.Errorf("%+v", s)
	}
	asked.Endpoints = []string{standby.Endpoint}
	s = survey1(t, asked, survey.Options{})
	host, _, _ := net.SplitHostPort(primary.Endpoint)
	if len(s.Endpoints) != 2 || s.Endpoints[0] != primary.Endpoint || s.Endpoints[1] != standby.Endpoint || !strings.HasPrefix(s.Endpoints[0], host) {
		t.Errorf("from the standby: %+v", s)
	}
	if !strings.Contains(strings.Join(s.Notes, "\n"), "is a standby; the plan names its primary") {
		t.Errorf("notes: %q", s.Notes)
	}
	standby.Kill()
	for deadline := time.Now().Add(20 * time.Second); ; {
		asked.Endpoints = []string{primary.Endpoint}
		s = survey1(t, asked, survey.Options{})
		if strings.Contains(strings.Join(s.Notes, "\n"), "commits wait for one") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing says that commits wait: %+v", s)
		}
	}
}

// TestSurveyOfItsOwnTable: a table that is built as the driver builds it can be audited,
// and a renewed lease is told from one that only runs out.
func TestSurveyOfItsOwnTable(t *testing.T) {
	t.Parallel()
	s := servers.NewPostgresTemplate(t).Start(t)
	c := open(t, target(s, leaseTable))
	if _, err := c.Acquire(t.Context(), "billing", time.Minute, 0); err != nil {
		t.Fatal(err)
	}
	sql(t, s, `CREATE TABLE shedlock (name text PRIMARY KEY, lock_until timestamp NOT NULL, locked_by text NOT NULL);
		INSERT INTO shedlock VALUES ('report', clock_timestamp() AT TIME ZONE 'UTC' + interval '30 s', 'app-1');
		CREATE TABLE login_token (id bigint PRIMARY KEY, token text, owner text, expires_at timestamptz);
		INSERT INTO login_token VALUES (1, 'x', 'y', clock_timestamp() + interval '1 h')`)
	found := survey1(t, target(s, ""), survey.Options{})
	options := map[string]string{}
	for _, g := range found.Locks {
		options[g.Key] = g.Options
		if g.Key == "report" && (g.Lease < 29*time.Second || g.Lease > 31*time.Second) {
			t.Errorf("a timestamp without a zone is UTC: %+v", g)
		}
	}
	if len(options) != 2 || options["billing"] != `{lock: lease, database: "postgres", table: "public.lockaudit_lease"}` ||
		options["report"] != `{lock: lease, database: "postgres", watch: {table: "public.shedlock", key: "name", owner: "locked_by", expires: "lock_until"}}` {
		t.Errorf("%+v", found.Locks)
	}
	if one := survey1(t, target(s, ""), survey.Options{Prefix: "bill"}); len(one.Locks) != 1 || one.Locks[0].Key != "billing" {
		t.Errorf("with a prefix: %+v", one.Locks)
	}
	// By its statistics a table may be too large to be read.
	sql(t, s, "INSERT INTO shedlock SELECT n::text, now(), 'x' FROM generate_series(1, 50) n; ANALYZE shedlock")
	few := survey1(t, target(s, ""), survey.Options{Limit: 10})
	if len(few.Locks) != 1 || !strings.Contains(strings.Join(few.Notes, "\n"), `"public"."shedlock" looks like a lease table, and has about 51 rows`) {
		t.Errorf("with a limit: %+v, %q", few.Locks, few.Notes)
	}
}

// TestReadOnlySessions: what would write is refused by the server itself.
func TestReadOnlySessions(t *testing.T) {
	t.Parallel()
	s := servers.NewPostgresTemplate(t).Start(t)
	asked := target(s, leaseTable)
	open(t, asked) // makes the table
	asked.ReadOnly = true
	c := open(t, asked)
	if _, err := c.Acquire(t.Context(), "k", time.Minute, 0); err == nil || !strings.Contains(err.Error(), "25006") {
		t.Errorf("acquire in a read-only session: %v", err)
	}
	sql(t, s, "DROP TABLE lockaudit_lease; DROP SEQUENCE lockaudit_lease_token")
	if _, err := (postgres.Driver{}).Open(t.Context(), asked); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("open in a read-only session without a table: %v", err)
	}
}

// TestObserveTheApplicationsOwn: its row of its table, and its advisory lock by number.
func TestObserveTheApplicationsOwn(t *testing.T) {
	t.Parallel()
	s := servers.NewPostgresTemplate(t).Start(t)
	sql(t, s, `CREATE TABLE jobs (name text PRIMARY KEY, lock_until timestamptz, locked_by text);
		INSERT INTO jobs VALUES ('nightly', clock_timestamp() + interval '30 s', 'app-1'), ('over', clock_timestamp(), 'app-1')`)
	const watch = `"watch": {"table": "jobs", "key": "name", "owner": "locked_by", "expires": "lock_until"}`
	both := open(t, target(s, `{"create": true, `+watch+`}`))
	if _, err := both.Acquire(t.Context(), "canary", time.Minute, 0); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"nightly": "app-1", "over": "", "canary": "1", "nobody's": ""} {
		h, err := both.(locks.Observer).Observe(t.Context(), key)
		if err != nil || h.Held != (want != "") || h.ID != want || h.Held && h.Left <= 0 {
			t.Errorf("%s: %+v, %v", key, h, err)
		}
	}
	sessions := open(t, target(s, advisory))
	conn, err := servers.Dial(t.Context(), s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "SELECT pg_advisory_lock(4711), pg_advisory_lock(-7, 8)"); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]bool{"advisory/4711": true, "advisory/-7/8": true, "advisory/8/-7": false, "4711": false} {
		if h, err := sessions.(locks.Observer).Observe(t.Context(), key); err != nil || h.Held != want {
			t.Errorf("%s: %+v, %v", key, h, err)
		}
	}
	if _, err := sessions.Acquire(t.Context(), "advisory/1", time.Minute, 0); err == nil {
		t.Error("a lock that is known by its number was acquired")
	}
	for _, bad := range []string{
		`{"watch": {"table": "a b", "key": "k", "owner": "o", "expires": "e"}}`, `{"watch": {"table": "a", "owner": "o", "expires": "e"}}`,
		`{"lock": "advisory", ` + watch + `}`,
	} {
		if _, err := (postgres.Driver{}).Open(t.Context(), target(s, bad)); err == nil {
			t.Errorf("opened with %s", bad)
		}
	}
}
