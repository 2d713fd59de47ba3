package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/lockaudit/lockaudit/locks/locktest/servers"
)

// lookAtPostgres runs init and inspect as a role that has exactly the guide's grants, and
// then with each of them taken away.
func lookAtPostgres(t *testing.T, bin string) {
	s := servers.NewPostgresTemplate(t).Start(t, "log_statement=all", "log_line_prefix=%u@%d ")
	admin := filledPostgres(t, s)
	grants := guide(t, "sql")
	carryOutGrants(t, admin, grants, "lockaudit")
	l := newLooker(t, bin, "postgres://lockaudit@"+s.Endpoint+"/billing")
	t.Run("changes nothing", func(t *testing.T) { postgresUnchanged(t, l, s) })
	plan := l.readPlan(t)
	for i, line := range grants {
		user := fmt.Sprintf("without_%d", i)
		t.Run("without "+line, func(t *testing.T) {
			t.Parallel()
			l := newLooker(t, bin, "postgres://"+user+"@"+s.Endpoint+"/billing")
			if _, out := l.init(t); !namesGrant(out, line, user) {
				t.Errorf("init does not name what is missing:\n%s", out)
			}
			if strings.HasPrefix(line, "GRANT SELECT") || strings.HasPrefix(line, "GRANT USAGE") {
				l.plan(t, strings.Replace(plan, `username: "lockaudit"`, "username: "+user, 1))
				if _, out := l.inspect(t); !namesGrant(out, line, user) {
					t.Errorf("inspect does not name what is missing:\n%s", out)
				}
			}
		})
		without := append(append([]string{}, grants[:i]...), grants[i+1:]...)
		if i == 0 { // the role itself: it may not log in
			without = append([]string{strings.Replace(line, " LOGIN", "", 1)}, grants[1:]...)
		}
		carryOutGrants(t, admin, without, user)
	}
}

// namesGrant: the output has the line with which the right is granted, whatever is
// wrapped or quoted in it.
func namesGrant(out, line, user string) bool {
	want := strings.TrimSuffix(strings.ReplaceAll(line, "lockaudit", user), ";")
	if strings.HasPrefix(line, "CREATE ROLE") {
		want = "ALTER ROLE " + user + " LOGIN"
	}
	flat := strings.Join(strings.Fields(strings.NewReplacer(`\"`, "", `"`, "").Replace(out)), " ")
	return strings.Contains(flat, "needs the permission "+want)
}

// postgresUnchanged: the whole cluster is the same afterwards, locks too, and the role has
// sent nothing that is no SELECT.
func postgresUnchanged(t *testing.T, l *looker, s *servers.Postgres) {
	before := postgresContents(t, s)
	status, out := l.init(t)
	if status != exitOK || !strings.Contains(out, "one server without a standby") {
		t.Fatalf("init: status %d\n%s", status, out)
	}
	for _, want := range []string{
		"nightly, a row of jobs.leases", "its table has the columns locked_by and lock_until",
		"advisory/4711, an advisory lock", "of billing-worker from 127.0.0.1 holds it", "1 waiting",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("init does not tell %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "web_session") || strings.Contains(out, "needs the permission") {
		t.Errorf("init tells of what is no lock, or misses a right:\n%s", out)
	}
	plan := l.readPlan(t)
	if !strings.Contains(plan, `watch: {table: "jobs.leases", key: "name", owner: "locked_by", expires: "lock_until"}`) || !strings.Contains(plan, `key: "nightly"`) {
		t.Errorf("the plan is not about the lease that was seen:\n%s", plan)
	}
	if status, out := l.run(t, "plan", "plan.yaml"); status != exitOK {
		t.Fatalf("plan: status %d\n%s", status, out)
	}
	for _, args := range [][]string{nil, {"--key", "advisory/4711"}} {
		if args != nil {
			if status, out := l.init(t, args...); status != exitOK {
				t.Fatalf("init %v: status %d\n%s", args, status, out)
			}
		}
		status, out := l.inspect(t)
		if status != exitFail || !strings.Contains(out, "no letter") { // a single server is a failure
			t.Fatalf("inspect: status %d\n%s", status, out)
		}
		if strings.Contains(out, "needs the permission") || strings.Contains(out, "did not run as planned") {
			t.Errorf("the guide's grants are not enough:\n%s", out)
		}
	}
	l.plan(t, plan)
	if after := postgresContents(t, s); after != before {
		t.Errorf("the cluster is not as it was:\n%s\n---\n%s", before, after)
	}
	onlySelects(t, s.Dir+".log")
	noSecrets(t, l.dir)
}

var statement = regexp.MustCompile(`^lockaudit@\w+ LOG:  (?:statement|execute [^:]*): *(\w*)`)

// onlySelects reads the server's own log of what the role has sent.
func onlySelects(t *testing.T, log string) {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	for line := range strings.Lines(string(text)) {
		m := statement.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		sent++
		if m[1] != "SELECT" && m[1] != "" { // a statement that begins with a new line is in the next one
			t.Errorf("it has sent %s", line)
		}
	}
	for _, bad := range []string{"INSERT", "UPDATE", "DELETE", "CREATE", "nextval", "pg_try_advisory", "set_config"} {
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "lockaudit@") && strings.Contains(line, bad) {
				t.Errorf("it has sent %s", line)
			}
		}
	}
	if sent < 20 {
		t.Errorf("the log has %d statements of it: nothing is shown by that", sent)
	}
}

// filledPostgres is a server with a lease, two advisory locks that another session holds,
// one that waits for it, and tables that are none of locks.
func filledPostgres(t *testing.T, s *servers.Postgres) *pgx.Conn {
	t.Helper()
	admin := postgresSession(t, s, "postgres", "")
	run := func(c *pgx.Conn, sql string) {
		t.Helper()
		if _, err := c.Exec(context.Background(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	run(admin, "CREATE DATABASE billing")
	run(admin, "REVOKE ALL ON DATABASE billing FROM PUBLIC")
	inside := postgresSession(t, s, "billing", "")
	run(inside, `CREATE SCHEMA jobs;
		CREATE TABLE jobs.leases (name text PRIMARY KEY, lock_until timestamptz NOT NULL, locked_at timestamptz, locked_by text);
		INSERT INTO jobs.leases VALUES ('nightly', clock_timestamp() + interval '10 min', clock_timestamp(), '`+heldBy+`'),
			('over', clock_timestamp() - interval '10 min', clock_timestamp(), 'app-1'), ('never', '-infinity', NULL, NULL);
		CREATE TABLE web_session (id text PRIMARY KEY, token text, expires_at timestamptz);
		INSERT INTO web_session SELECT n::text, md5(n::text), clock_timestamp() + interval '1 h' FROM generate_series(1, 1200) n;
		CREATE TABLE orders (id bigint PRIMARY KEY, owner text, amount int)`)
	worker := postgresSession(t, s, "billing", "billing-worker")
	run(worker, "SELECT pg_advisory_lock(4711), pg_advisory_lock(7, -8)")
	waiting := postgresSession(t, s, "billing", "billing-standby")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = waiting.Exec(ctx, "SELECT pg_advisory_lock(4711)") // ends with the test
	}()
	t.Cleanup(func() { cancel(); <-done })
	return inside
}

func postgresSession(t *testing.T, s *servers.Postgres, database, application string) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig("host=localhost sslmode=disable user=" + servers.PostgresUser)
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := strings.Cut(s.Endpoint, ":")
	if _, err := fmt.Sscan(port, &config.Port); err != nil {
		t.Fatal(err)
	}
	config.Host, config.Database, config.Password = host, database, servers.PostgresPassword
	config.RuntimeParams["application_name"] = application
	conn, err := pgx.ConnectConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// carryOutGrants does what the guide says, for a role of that name.
func carryOutGrants(t *testing.T, admin *pgx.Conn, lines []string, user string) {
	t.Helper()
	for _, line := range lines {
		sql := strings.NewReplacer("PASSWORD 'PASSWORD'", "PASSWORD '"+lookPassword+"'", "lockaudit", user).Replace(line)
		if _, err := admin.Exec(context.Background(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// postgresContents is everything that pg_dumpall sees, and the advisory locks.
func postgresContents(t *testing.T, s *servers.Postgres) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/pg_dumpall")
	if err != nil || len(found) == 0 {
		t.Fatalf("find pg_dumpall: %v", err)
	}
	host, port, _ := strings.Cut(s.Endpoint, ":")
	cmd := exec.Command(found[len(found)-1], "-h", host, "-p", port, "-U", servers.PostgresUser)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+servers.PostgresPassword)
	dump, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(dump), heldBy) {
		t.Fatalf("pg_dumpall: %v\n%s", err, dump)
	}
	var held string
	row := postgresSession(t, s, "billing", "").QueryRow(context.Background(),
		"SELECT string_agg(concat_ws(' ', classid, objid, objsubid, granted, pid), '; ' ORDER BY pid, objid) FROM pg_locks WHERE locktype = 'advisory'")
	if err := row.Scan(&held); err != nil {
		t.Fatal(err)
	}
	random := regexp.MustCompile(`(?m)^\\(un)?restrict .*$`) // newer dumps guard themselves with it
	return random.ReplaceAllString(string(dump), "") + held
}
