package audit_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/checklist"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// The application of these tests is testdata/worker: real processes on the nodes of a lab,
// which know nothing of lockaudit, a real Redis, a real resource.

// programs builds what the tests run, once.
func programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, p := range []string{"../cmd/lockaudit", "../cmd/lockaudit-agent", "../cmd/locklab", "./testdata/worker"} {
		if out, err := exec.Command("go", "build", "-o", dir+"/", p).CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", p, err, out)
		}
	}
	return dir
}

// stage is a lab in which the application runs.
type stage struct {
	t              *testing.T
	bin, dir, base string
}

const labName = "redis-single"

func raise(t *testing.T, bin string) *stage {
	t.Helper()
	s := &stage{t: t, bin: bin, dir: t.TempDir()}
	s.base = filepath.Join(s.dir, "labs")
	s.run("locklab", "up", labName)
	t.Cleanup(func() { s.run("locklab", "down", labName) })
	return s
}

func (s *stage) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LOCKLAB_DIR="+s.base, "PATH="+s.bin+":"+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func (s *stage) run(name string, args ...string) string {
	s.t.Helper()
	out, err := s.command(name, args...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// start runs a program on a node of the lab until the lab is taken down.
func (s *stage) start(node string, argv ...string) (log string) {
	s.t.Helper()
	file, err := os.CreateTemp(s.dir, node+"-*.log")
	if err != nil {
		s.t.Fatal(err)
	}
	defer file.Close()
	cmd := s.command("locklab", append([]string{"exec", labName, node, "--"}, argv...)...)
	cmd.Stdout, cmd.Stderr = file, file
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() })
	return file.Name()
}

// ledger is a resource of the variant, on a port of its own.
func (s *stage) ledger(variant string) {
	s.t.Helper()
	s.start("ledger", "locklab", "serve", "ledger", "--listen", "10.77.0.21:8081", "--data", ledgerDir, "--variant", variant)
}

const ledgerDir = "/dev/shm/observed"

// worker is one instance of the application.
func (s *stage) worker(node string, more ...string) (log string) {
	s.t.Helper()
	return s.start(node, append([]string{
		"worker", "-name", node, "-redis", "10.77.0.11:6379", "-key", "/locks/billing", "-url", "http://10.77.0.21:8081/entries/billing/x",
	}, more...)...)
}

// logged is an instance whose log is a file on its node.
func (s *stage) logged(node string) {
	s.t.Helper()
	s.start(node, "sh", "-c", "exec worker -name "+node+" -redis 10.77.0.11:6379 -key /locks/billing -url http://10.77.0.21:8081/entries/billing/x 2>/dev/shm/"+node+".log")
}

// byLog is where its writes show then.
const byLog = `, effects: {log: "/dev/shm/{node}.log", accepted: 'wrote token=(?P<token>\d+)', refused: 'refused token=(?P<token>\d+)'}`

// await waits until a log has the words.
func (s *stage) await(log, words string) {
	s.t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		b, err := os.ReadFile(log)
		if err == nil && bytes.Contains(b, []byte(words)) {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("%s never said %q: %s", log, words, b)
		}
	}
}

// audit runs the five steps on the application, and returns the findings and the events.
func (s *stage) audit(observe, more string, nodes ...string) (map[string]checklist.Finding, record.Run, string) {
	s.t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, `name: observed
lock: {backend: redis, endpoints: ["10.77.0.11:6379"], key: /locks/billing, ttl: 2s, options: {fencing_counter: true}}
resource: {kind: http, url: "http://10.77.0.21:8081/entries/{row}", token_header: X-Fencing-Token}
clients: {observe: {%s}}
probes: [pause-holder-past-ttl]
trials: 1
nodes:
`, observe)
	for _, node := range append([]string{"app-a", "app-b"}, nodes...) {
		role := "client"
		if node == "ledger" {
			role = "resource"
		}
		fmt.Fprintf(&text, "  - {name: %s, roles: [%s], via: [%q, exec, --dir, %q, %s, %s, --]}\n", node, role, s.bin+"/locklab", s.base, labName, node)
	}
	path := filepath.Join(s.dir, "plan.yaml")
	if err := os.WriteFile(path, []byte(text.String()+more), 0o644); err != nil {
		s.t.Fatal(err)
	}
	cmd := s.command("lockaudit", "audit", path, "-f", "json")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // the findings say how it went
	dirs, err := filepath.Glob(filepath.Join(s.dir, "runs", "*"))
	if err != nil || len(dirs) != 1 {
		s.t.Fatalf("%d run directories: %v\n%s", len(dirs), err, errs.String())
	}
	run, err := record.Load(dirs[0])
	if err != nil || len(run.Damage) > 0 {
		s.t.Fatalf("load run: %v %v", err, run.Damage)
	}
	if len(run.Manifest.Residue) > 0 {
		s.t.Errorf("something may be left: %+v", run.Manifest.Residue)
	}
	found := map[string]checklist.Finding{}
	for _, f := range checklist.Judge(run) {
		found[f.Item] = f
	}
	s.t.Log(errs.String())
	return found, run, run.Manifest.Probes[0].Err
}

// accepted are the tokens of the application's writes, in the order of the resource. All
// others are to the audit's own rows.
func (s *stage) accepted() []int {
	s.t.Helper()
	minted, err := strconv.Atoi(strings.TrimSpace(s.run("locklab", "exec", labName, "app-a", "--", "redis-cli", "-h", "10.77.0.11", "GET", "/locks/billing:token")))
	if err != nil {
		s.t.Fatal(err)
	}
	var tokens []int
	for line := range strings.Lines(s.run("locklab", "exec", labName, "ledger", "--", "cat", ledgerDir+"/ledger.jsonl")) {
		var w struct{ Row, Token string }
		if err := json.Unmarshal([]byte(line), &w); err != nil {
			s.t.Fatal(err)
		}
		n, err := strconv.Atoi(w.Token)
		switch {
		case w.Row == "billing/x" && err == nil && n <= minted:
			tokens = append(tokens, n)
		case w.Row == "billing/x":
			s.t.Errorf("token %q was written, and the application was granted none above %d", w.Token, minted)
		case !strings.HasPrefix(w.Row, "lockaudit-canary-"):
			s.t.Errorf("row %s is not the audit's to write", w.Row)
		}
	}
	return tokens
}

// late is the place of the first write that came after one with a newer token.
func late(tokens []int) int {
	for i := 1; i < len(tokens); i++ {
		if tokens[i] < tokens[i-1] {
			return i
		}
	}
	return -1
}

func count(run record.Run, op history.Op, actor string) (n int) {
	for _, e := range run.Histories["pause-holder-past-ttl"] {
		if e.Op == op && e.Actor == actor && e.Type != history.Invoke {
			n++
		}
	}
	return n
}

const byOwner = `owner: '^(?P<node>app-[ab]).*:(?P<pid>\d+)$', take_within: 20s`

// TestObserve: the five steps on a real application, with the verdicts that are right.
func TestObserve(t *testing.T) {
	bin := programs(t)
	t.Run("fenced, three instances", func(t *testing.T) {
		t.Parallel()
		s := raise(t, bin)
		s.ledger("ordered")
		s.worker("app-a")
		s.worker("app-b")
		s.worker("app-b", "-name", "app-b-2")
		found, run, _ := s.audit(byOwner, "")
		f := found["fencing_enforced"]
		if f.Outcome != checklist.Pass || !strings.Contains(f.Summary, "late write came, and was kept off") {
			t.Errorf("%v: %s", f.Outcome, f.Summary)
		}
		if f := found["no_double_grant"]; f.Outcome != checklist.Pass {
			t.Errorf("no double grant %v: %s %v", f.Outcome, f.Summary, f.Evidence)
		}
		if f := found["notices_loss"]; f.Outcome != checklist.Inconclusive {
			t.Errorf("nobody can see what an application believes, and it is %v: %s", f.Outcome, f.Summary)
		}
		if count(run, history.OpAttempt, "a") == 0 {
			t.Error("the attempt is not in the record")
		}
	})
	t.Run("unfenced, kept off", func(t *testing.T) {
		t.Parallel()
		s := raise(t, bin)
		s.ledger("none")
		s.logged("app-a")
		s.logged("app-b")
		found, _, _ := s.audit(byOwner+byLog, "")
		f := found["fencing_enforced"]
		if f.Outcome != checklist.Fail || f.Harm || !strings.Contains(f.Summary, "would have accepted") {
			t.Errorf("%v, harm %v: %s", f.Outcome, f.Harm, f.Summary)
		}
		if tokens := s.accepted(); late(tokens) >= 0 || len(tokens) == 0 {
			t.Errorf("a late write has arrived: %v", tokens)
		}
	})
	t.Run("unfenced, let through", func(t *testing.T) {
		t.Parallel()
		s := raise(t, bin)
		s.ledger("none")
		s.logged("app-a")
		s.logged("app-b")
		found, _, why := s.audit(byOwner+byLog, "safety: {allow_harm: true}\n")
		f := found["fencing_enforced"]
		if f.Outcome != checklist.Fail || !f.Harm {
			t.Errorf("%v, harm %v: %s %s", f.Outcome, f.Harm, f.Summary, why)
		}
		if tokens := s.accepted(); late(tokens) < 0 {
			t.Errorf("the verdict speaks of harm, and no late write has arrived: %v", tokens)
		}
	})
	t.Run("fenced, let through a tap", func(t *testing.T) {
		t.Parallel()
		s := raise(t, bin)
		s.ledger("ordered")
		s.start("ledger", "lockaudit", "tap", "--listen", "10.77.0.21:8082", "--to", "http://10.77.0.21:8081", "--record", "/dev/shm/tap.jsonl")
		s.await(s.worker("app-a", "-url", "http://10.77.0.21:8082/entries/billing/x"), "wrote")
		s.worker("app-b", "-url", "http://10.77.0.21:8082/entries/billing/x")
		found, run, why := s.audit(byOwner+", effects: {tap: /dev/shm/tap.jsonl, tap_node: ledger}", "safety: {allow_harm: true}\n", "ledger")
		f := found["fencing_enforced"]
		if f.Outcome != checklist.Pass || !strings.Contains(f.Summary, "stale write was tried and refused") {
			t.Errorf("%v: %s %s", f.Outcome, f.Summary, why)
		}
		for _, e := range run.Histories["pause-holder-past-ttl"] {
			if e.Op == history.OpWrite && (e.Write.Token.Order == nil || e.Write.Seq == 0) {
				t.Errorf("a write without token or order: %+v", e)
			}
		}
	})
	t.Run("found by its connection", func(t *testing.T) {
		t.Parallel()
		s := raise(t, bin)
		s.ledger("ordered")
		s.await(s.worker("app-a", "-anonymous"), "wrote")
		s.worker("app-b", "-anonymous", "-every", "5s")
		found, run, why := s.audit("connection: true, take_within: 30s", "")
		if f := found["fencing_enforced"]; f.Outcome != checklist.Pass {
			t.Errorf("%v: %s %s", f.Outcome, f.Summary, why)
		}
		for _, e := range run.Histories["pause-holder-past-ttl"] {
			if e.Actor == "a" && e.Op == history.OpStart && e.Node != "app-a" {
				t.Errorf("another was taken for the holder: %s", e.Step)
			}
		}
	})
	t.Run("does not give up", func(t *testing.T) {
		t.Parallel()
		s := raise(t, bin)
		s.ledger("none")
		a := s.worker("app-a", "-bold")
		s.await(a, "wrote")
		s.worker("app-b")
		_, run, why := s.audit(byOwner, "")
		restarted := false
		for _, e := range run.Histories["pause-holder-past-ttl"] {
			restarted = restarted || e.Op == history.OpRevert && e.Type == history.OK && e.Fault.Kind == "crash"
		}
		if !restarted {
			t.Errorf("it was not started again: %s", why)
		}
		if tokens := s.accepted(); late(tokens) >= 0 || len(tokens) == 0 {
			t.Errorf("a late write has arrived: %v", tokens)
		}
	})
	t.Run("ends when the lock is lost", func(t *testing.T) {
		t.Parallel()
		s := raise(t, bin)
		s.ledger("ordered")
		a := s.worker("app-a", "-leave", "-idle")
		s.await(a, "acquired")
		s.worker("app-b")
		found, run, why := s.audit(byOwner, "")
		f := found["fencing_enforced"]
		if f.Outcome != checklist.Inconclusive || !strings.Contains(f.Summary, "ended by itself") || count(run, history.OpExit, "a") == 0 {
			t.Errorf("%v: %s %s", f.Outcome, f.Summary, why)
		}
	})
	for _, c := range []struct {
		name, observe, want string
		start               func(*stage)
	}{
		{"nobody takes the lock", `owner: '^(?P<node>[^:]+):(?P<pid>\d+)$', take_within: 1s`, "nobody took /locks/billing within 1s", func(*stage) {}},
		{"nobody else takes the lock", `owner: '^(?P<node>[^:]+):(?P<pid>\d+)$', take_within: 1s`, "no other instance took", func(s *stage) { s.worker("app-a") }},
		{"unknown owner", byOwner, "does not match what the lock service stores", func(s *stage) { s.worker("app-a", "-anonymous") }},
		{"owner on no node", `owner: '^(?P<host>[^:]+):(?P<pid>\d+)$'`, "on no client node of the plan: it should be at host elsewhere", func(s *stage) { s.worker("app-a", "-name", "elsewhere") }},
		{"pid of another", `owner: '^(?P<node>[^:]+):(?P<pid>\d+)$'`, "has no connection to the lock service", func(s *stage) {
			sleeper := s.start("app-a", "sh", "-c", "echo $$; exec sleep 1000")
			s.await(sleeper, "\n")
			pid, err := os.ReadFile(sleeper)
			if err != nil {
				s.t.Fatal(err)
			}
			s.worker("app-a", "-pid", strings.TrimSpace(string(pid)))
		}},
		{"renewed from aside", byOwner, "was renewed while A and its children stood still", func(s *stage) {
			s.await(s.worker("app-a", "-pid-file", "/dev/shm/a.pid"), "wrote")
			pid := strings.TrimSpace(s.run("locklab", "exec", labName, "app-a", "--", "cat", "/dev/shm/a.pid"))
			s.worker("app-a", "-sidecar", "-pid", pid)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := raise(t, bin)
			s.ledger("ordered")
			c.start(s)
			found, _, why := s.audit(c.observe, "")
			if f := found["fencing_enforced"]; f.Outcome != checklist.Inconclusive {
				t.Errorf("fencing: %v: %s", f.Outcome, f.Summary)
			}
			if !strings.Contains(why, c.want) {
				t.Errorf("said %q, want %q", why, c.want)
			}
		})
	}
}
