package lockaudit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/record"
)

// TestClientThatCannotStart: a lock client that needs the master in order to start
// cannot, on the side of a partition that has lost it. That is a finding about this
// client; the audit goes on with the next probe.
func TestClientThatCannotStart(t *testing.T) {
	u := newUser(t, programs(t), os.Geteuid())
	if out, status := u.run(t, "locklab", "up", "redis-sentinel"); status != 0 {
		t.Fatalf("locklab up: %s", out)
	}
	text, err := os.ReadFile(filepath.Join(u.home, "labs", "redis-sentinel", "plan.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	plan, _, _ := strings.Cut(string(text), "probes:")
	plan = strings.Replace(plan, "clients: {builtin: true}",
		`clients: {exec: [sh, -c, "timeout 2 redis-cli -h 10.77.0.11 ping > /dev/null && exec `+filepath.Join(u.bin, "lockaudit")+` client redis"]}`, 1)
	path := filepath.Join(u.home, "edited.yaml")
	if err := os.WriteFile(path, []byte(plan+"probes: [double-execution, contend]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, status := u.run(t, "lockaudit", "audit", path, "--trials", "1")
	found, err := filepath.Glob(filepath.Join(u.home, "runs", "*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%d records, %v\n%s", len(found), err, out)
	}
	run, err := record.Load(found[0])
	if err != nil {
		t.Fatal(err)
	}
	first, second := run.Manifest.Probes[0], run.Manifest.Probes[1]
	if first.Status != record.Failed || !strings.Contains(first.Err, "client b does not start") || second.Status != record.Ran {
		t.Errorf("exit status %d, probes: %+v, %+v\n%s", status, first, second, out)
	}
	if run.Manifest.Status != record.Complete || !strings.Contains(out, "client b does not start") {
		t.Errorf("exit status %d, the run is %s\n%s", status, run.Manifest.Status, out)
	}
}
