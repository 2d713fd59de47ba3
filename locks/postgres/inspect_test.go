package postgres_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/locks/postgres"
)

func inspect(t *testing.T, target locks.Target) facts.Deployment {
	t.Helper()
	d, err := postgres.Driver{}.Inspect(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func setting(d facts.Deployment, name string) string {
	for _, s := range d.Settings {
		if s.Name == name {
			return s.Value
		}
	}
	return "not read"
}

func TestInspectReadsWhatDecides(t *testing.T) {
	t.Parallel()
	template := servers.NewPostgresTemplate(t)
	hba := filepath.Join(t.TempDir(), "hba")
	if err := os.WriteFile(hba, []byte("host all all 127.0.0.1/32 trust\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	usual := template.Start(t)
	loose := template.Start(t, "hba_file="+hba, "synchronous_commit=off", "tcp_keepalives_idle=5", "tcp_keepalives_interval=2", "tcp_keepalives_count=3")
	timed := template.Start(t, "fsync=off", "idle_session_timeout=30s")
	for _, c := range []struct {
		server                     *servers.Postgres
		options                    string
		durable, auth, wall, order bool
		silent                     string
	}{
		{usual, leaseTable, true, true, true, true, "2h11m15s (keepalive)"},
		{usual, advisory, false, true, false, false, "2h11m15s (keepalive)"},
		{loose, leaseTable, false, false, true, true, "11s (keepalive)"},
		{timed, leaseTable, false, true, true, true, "30s (idle_session_timeout)"},
	} {
		open(t, target(c.server, c.options)) // makes the table
		d := inspect(t, target(c.server, c.options))
		if *d.Durable != c.durable || *d.Auth != c.auth || *d.WallClock != c.wall || *d.OrderedTokens != c.order || *d.TLS || *d.Evicts {
			t.Errorf("%+v", d)
		}
		if m := d.Members[0]; d.Consensus != "" || m.Role != "primary" || m.Clock == nil || m.Version == "" || len(d.Unknown) > 0 {
			t.Errorf("%+v", d)
		}
		if got := setting(d, "a silent session ends after"); got != c.silent {
			t.Errorf("a silent session ends after %s, want %s", got, c.silent)
		}
	}
}

// TestTokensThatAreNotOrdered: a sequence that hands out numbers in batches, or begins
// anew after a crash, makes tokens that must not be compared.
func TestTokensThatAreNotOrdered(t *testing.T) {
	t.Parallel()
	s := servers.NewPostgresTemplate(t).Start(t)
	for table, change := range map[string]string{
		"cached":   "ALTER SEQUENCE cached_token CACHE 20",
		"cycling":  "ALTER SEQUENCE cycling_token CYCLE",
		"downward": "ALTER SEQUENCE downward_token INCREMENT -1 MINVALUE -100 START 1",
		"unlogged": "ALTER TABLE unlogged SET UNLOGGED",
	} {
		options := `{"create": true, "table": "` + table + `"}`
		open(t, target(s, options))
		sql(t, s, change)
		c := open(t, target(s, options))
		g, err := c.Acquire(t.Context(), "k", time.Minute, 0)
		if err != nil {
			t.Fatal(err)
		}
		if g.Token.Order != nil || g.Token.ID == "" {
			t.Errorf("%s: token %+v has an order", table, g.Token)
		}
		if err := c.Release(t.Context(), g); err != nil {
			t.Errorf("%s: %v", table, err)
		}
		if d := inspect(t, target(s, options)); *d.OrderedTokens || table == "unlogged" && *d.Durable {
			t.Errorf("%s: %+v", table, d)
		}
	}
}

// TestStandby: whichever endpoint is primary is locked at; the others are described.
func TestStandby(t *testing.T) {
	t.Parallel()
	template := servers.NewPostgresTemplate(t)
	first := template.Start(t)
	second := template.StartIn(t, template.Copy(t, first))
	both := target(first, leaseTable)
	both.Endpoints = []string{second.Endpoint, "postgres://" + first.Endpoint}
	c := open(t, both)
	if _, err := c.Acquire(t.Context(), "k", time.Minute, 0); err != nil {
		t.Fatal(err)
	}
	var d facts.Deployment
	for deadline := time.Now().Add(20 * time.Second); ; { // the standby connects when it is ready
		if d = inspect(t, both); d.Replicas == 1 || time.Now().After(deadline) {
			break
		}
	}
	if d.Replicas != 1 || len(d.Members) != 2 || d.Members[0].Role != "standby" || d.Members[1].Role != "primary" || d.Members[0].ID == d.Members[1].ID {
		t.Errorf("%+v", d)
	}
	if got := setting(d, "standby walreceiver"); !strings.HasPrefix(got, "streaming, async, ") {
		t.Errorf("standby: %s", got)
	}
	second.Kill()
	d = inspect(t, both)
	if d.Members[0].Err == "" || d.Members[1].Err != "" || d.Durable == nil {
		t.Errorf("with the standby gone: %+v", d)
	}
}

// TestWhatMayNotBeReadIsUnknown: an ordinary user sees less, and no less is judged.
func TestWhatMayNotBeReadIsUnknown(t *testing.T) {
	t.Parallel()
	s := servers.NewPostgresTemplate(t).Start(t)
	sql(t, s, "CREATE ROLE app LOGIN PASSWORD 'app'; REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
	asked := target(s, advisory)
	asked.Username, asked.Password = "app", "app"
	d := inspect(t, asked)
	if d.Members[0].ID == "" || d.Members[0].Role != "primary" || setting(d, "fsync") != "on" {
		t.Errorf("%+v", d)
	}
	asked.Options = nil // a lease, whose table is missing
	d = inspect(t, asked)
	if d.OrderedTokens != nil || !strings.Contains(strings.Join(d.Unknown, "\n"), "lease table: ") {
		t.Errorf("%+v", d)
	}
}
