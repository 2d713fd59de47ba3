package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/lab"
)

// auditEnv tells the stand-in for lockaudit what to do: "right" and "wrong"
// grades, "hang" until it is interrupted. The demo's own work is under test here;
// that the real auditor gets the labs right is tested where it lives.
const auditEnv = "LOCKLAB_TEST_AUDIT"

// fakeAudit is lockaudit audit PLAN --runs DIR …, on a lab that must be up.
func fakeAudit(args []string) int {
	if args[0] == "diff" {
		fmt.Printf("diff of %s and %s\n", filepath.Base(args[1]), filepath.Base(args[2]))
		return 0
	}
	name := filepath.Base(filepath.Dir(args[1]))
	l, err := lab.Find(name)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	if err := exec.Command(filepath.Join(filepath.Dir(os.Args[0]), "locklab"), "exec", name, "app-a", "--", "true").Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	letter, exit := l.Letter, l.Exit
	switch os.Getenv(auditEnv) {
	case "wrong":
		letter = "B"
	case "hang":
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, os.Interrupt)
		fmt.Fprintln(os.Stderr, "hanging")
		<-signals
		fmt.Fprintln(os.Stderr, "reverted")
		return 3
	}
	run := filepath.Join(args[3], name)
	_ = os.MkdirAll(run, 0o700)
	if err := os.WriteFile(filepath.Join(run, "report.json"), fmt.Appendf(nil, `{"grade":{"letter":%q}}`, letter), 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	fmt.Printf("the report of %s\n", name)
	fmt.Fprintf(os.Stderr, "step of %s\nrecord: %s\n", name, run)
	return exit
}

func TestDemo(t *testing.T) {
	tests := []struct {
		audit string
		exit  int
		want  []string
	}{
		{"right", 0, []string{"the report of redis-single", "redis-single    F", "as it should be"}},
		{"wrong", 1, []string{"redis-single    B", "WRONG GRADE"}},
	}
	for _, tt := range tests {
		t.Run(tt.audit, func(t *testing.T) {
			t.Setenv(auditEnv, tt.audit)
			s := newSite(t, os.Geteuid())
			out, notes, exit := s.run("demo", "--runs", t.TempDir(), "redis-single", "etcd-unfenced")
			if exit != tt.exit {
				t.Errorf("exit status %d: %s", exit, notes)
			}
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("stdout has no %q:\n%s", want, out)
				}
			}
			if !strings.Contains(notes, "redis-single: step of redis-single\n") {
				t.Errorf("stderr shows no progress:\n%s", notes)
			}
			if _, err := os.Stat(s.dir); !os.IsNotExist(err) {
				t.Errorf("directory after the demo: %v", err)
			}
		})
	}
}

// TestDemoShowsTheRepair: the last thing is what fencing changed.
func TestDemoShowsTheRepair(t *testing.T) {
	t.Setenv(auditEnv, "right")
	s := newSite(t, os.Geteuid())
	out, notes, exit := s.run("demo", "--runs", t.TempDir(), "etcd-fenced", "etcd-unfenced")
	if exit != 0 || !strings.HasSuffix(out, "\ndiff of etcd-unfenced and etcd-fenced\n") {
		t.Errorf("exit status %d, the demo does not end with the repair:\n%s\n%s", exit, out, notes)
	}
}

// TestDemoLeavesWhatWasUp: a lab that the user raised is the user's.
func TestDemoLeavesWhatWasUp(t *testing.T) {
	t.Setenv(auditEnv, "right")
	s := newSite(t, os.Geteuid())
	s.must("up", "redis-single")
	s.must("demo", "--runs", t.TempDir(), "redis-single")
	s.must("exec", "redis-single", "app-a", "--", "true")
}

func TestDemoInterrupted(t *testing.T) {
	t.Setenv(auditEnv, "hang")
	s := newSite(t, os.Geteuid())
	cmd := s.command("demo", "--runs", t.TempDir(), "redis-single")
	notes, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	awaitLine(t, notes, "hanging")
	namespaces := s.namespaces("redis-single")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("an interrupted demo succeeded")
	}
	if left := holders(namespaces); len(left) > 0 {
		t.Errorf("left after ctrl-C: %s", left)
	}
}

func TestDemoWithoutRedis(t *testing.T) {
	d := demo{err: new(strings.Builder)}
	t.Setenv("PATH", "")
	labs, err := d.choose(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range labs {
		if l.Backend == lab.Redis {
			t.Errorf("%s is not left out", l.Name)
		}
	}
	if said := d.err.(*strings.Builder).String(); !strings.Contains(said, "redis-single is left out") {
		t.Errorf("stderr: %s", said)
	}
}

func TestBoardFitsTheTerminal(t *testing.T) {
	var out strings.Builder
	b := newBoard(&out, lab.All())
	b.width = func() int { return 80 }
	for _, l := range lab.All() {
		b.set(l.Name, strings.Repeat("long step ", 20))
	}
	lines := strings.Split(out.String(), "\r\033[K")
	for _, line := range lines {
		if n := len([]rune(line)); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if !strings.Contains(out.String(), "redis-single: ") {
		t.Errorf("no step is shown: %q", out.String())
	}
}
