package examples_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/locks/locktest/servers"
)

// TestClientsInALab: an audit of a single Redis by each of the clients gives the verdict
// that is known to be right there: harm was seen.
func TestClientsInALab(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test makes namespaces and must be run as root")
	}
	w := newWorkplace(t)
	t.Cleanup(func() { w.run(t, "locklab", "down", "--all") })
	if _, errs, status := w.run(t, "locklab", "up", "redis-single"); status != 0 {
		t.Fatalf("locklab up: %s", errs)
	}
	plan, err := os.ReadFile(filepath.Join(w.dir, "labs", "redis-single", "plan.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	whole, _, _ := strings.Cut(string(plan), "probes:")
	redsync := filepath.Join(shared(t), "lockclient")
	buildExample(t, "clients/go-redsync", redsync)
	for name, argv := range map[string]string{
		"go-redsync":   redsync,
		"node-redlock": "node, " + filepath.Join(copied(t, installed(t, "clients/node-redlock")), "client.js"),
		"python":       python + ", " + filepath.Join(copied(t, "clients/python"), "client.py"),
	} {
		t.Run(name, func(t *testing.T) {
			own := strings.Replace(whole, "clients: {builtin: true}", fmt.Sprintf("clients: {exec: [%s], observer: [lockaudit, client, redis]}", argv), 1)
			if own == whole {
				t.Fatalf("the lab's plan has no clients to replace:\n%s", whole)
			}
			w := workplace{w.bin, t.TempDir()}
			path := filepath.Join(w.dir, "plan.yaml")
			if err := os.WriteFile(path, []byte(own+"probes: [inspect-deployment, contend, pause-holder-past-ttl]\ntrials: 1\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			out, errs, status := w.run(t, "lockaudit", "audit", path, "-f", "json")
			if status != 1 {
				t.Fatalf("exit status %d, want 1\n%s", status, errs)
			}
			r := readReport(t, out)
			if r.Grade.Letter != "F" {
				t.Errorf("letter %s, want F", r.Grade.Letter)
			}
			for item, want := range map[string]string{
				"fencing_enforced": "fail", "not_ttl_only": "fail", "not_single_instance": "fail", "consensus_backed": "fail",
			} {
				if got := r.outcome(item); got != want {
					t.Errorf("%s is %s, want %s", item, got, want)
				}
			}
			logs := 0
			for file, text := range w.record(t) {
				if strings.HasPrefix(file, "clients/") && strings.Contains(text, "lock client starts") {
					logs++
				}
			}
			if logs < 2 {
				t.Errorf("the record has the logs of %d lock clients, want at least a's and b's", logs)
			}
		})
	}
}

// misbehave is a lock client that differs from the example in one way.
const misbehave = `
import os, sys, time
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
how = sys.argv[1]
if how == "prints": print("connected to Redis", flush=True)
if how == "dies": raise RuntimeError("no route to the vault")
if how == "silent": time.sleep(60)
import client
class Bad(client.Client):
    def acquire(self, r, cancelled):
        if how == "crashes": print("out of memory", file=sys.stderr, flush=True); os._exit(7)
        return super().acquire(r, cancelled)
    def release(self, r, cancelled):
        if how == "slow": time.sleep(60)
        return super().release(r, cancelled)
Bad.OPS = dict(client.Client.OPS, acquire=Bad.acquire, release=Bad.release)
if how == "secret": print("the token is", os.environ["LOCK_TOKEN"], "from", os.environ["PLACE"], "redis://u:pw@h", file=sys.stderr, flush=True)
Bad().listen()
os._exit(0)
`

// TestClientsThatMisbehave: each is said for what it is, and nothing passes by it.
func TestClientsThatMisbehave(t *testing.T) {
	dir := copied(t, "clients/python")
	if err := os.WriteFile(filepath.Join(dir, "bad.py"), []byte(misbehave), 0o644); err != nil {
		t.Fatal(err)
	}
	programs(t)
	const any = -1 // about the record, not about a verdict
	for _, c := range []struct {
		how    string
		argv   string // instead of bad.py
		status int
		says   []string // on stderr
		kept   []string // in the history
	}{
		{how: "prints", status: 3, says: []string{`line 1 is not a client-protocol message: "connected to Redis"`, "hint: lockaudit client check"}},
		{how: "dies", status: 3, says: []string{"client ended, exit status 1; its log ends with: RuntimeError: no route to the vault", "as nobody, in /"}},
		{how: "relative", argv: python + ", client.py", status: 3, says: []string{"can't open file '", "give whole paths"}},
		{how: "missing", argv: "/nowhere/client", status: 3, says: []string{"/nowhere/client", "hint: "}},
		{how: "silent", status: 3, says: []string{"no answer to init", "hint: "}},
		{how: "slow", status: any, kept: []string{`"type":"info"`, `"code":"timeout"`, "no answer to release"}},
		{how: "crashes", status: 2, kept: []string{`"code":"exited"`, "client ended, exit status 7; its log ends with: out of memory"}},
		{how: "secret", status: any},
	} {
		t.Run(c.how, func(t *testing.T) {
			t.Parallel()
			w := newWorkplace(t)
			argv := c.argv
			if argv == "" {
				argv = fmt.Sprintf("%s, %s/bad.py, %s", python, dir, c.how)
			}
			plan := fmt.Sprintf(`
name: misbehaves
lock: {backend: redis, endpoints: [%q], key: k, ttl: 2s}
clients: {exec: [%s], env: {LOCK_TOKEN: hunter2, PLACE: "at home"}}
probes: [contend]
trials: 1
`, servers.StartRedis(t).Endpoint, argv)
			path := filepath.Join(w.dir, "plan.yaml")
			if err := os.WriteFile(path, []byte(plan), 0o600); err != nil {
				t.Fatal(err)
			}
			out, errs, status := w.run(t, "lockaudit", "audit", path)
			if c.status != any && status != c.status {
				t.Errorf("exit status %d, want %d\n%s%s", status, c.status, out, errs)
			}
			for _, s := range c.says {
				if !strings.Contains(errs, s) {
					t.Errorf("stderr lacks %q:\n%s", s, errs)
				}
			}
			files := w.record(t)
			for _, s := range c.kept {
				if !strings.Contains(files["history/contend.jsonl"], s) {
					t.Errorf("the history lacks %q:\n%s", s, files["history/contend.jsonl"])
				}
			}
			for name, text := range files {
				if strings.Contains(text, "hunter2") || strings.Contains(text, "u:pw@") {
					t.Errorf("%s holds a secret:\n%s", name, text)
				}
			}
			if c.how == "secret" && !strings.Contains(fmt.Sprint(files), "the token is REDACTED from at home") {
				t.Errorf("the client's environment or its log is not as the plan says: %s", errs)
			}
		})
	}
}
