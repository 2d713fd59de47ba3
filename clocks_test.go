package lockaudit

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestServerClocksAreCompared inspects real servers: first as they are, then with one
// member of the cluster 30 s ahead, which shows in nothing but its own answers.
func TestServerClocksAreCompared(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test skews the clock of a process and must be run as root")
	}
	u := newUser(t, programs(t), 0)
	for lab, want := range map[string]string{
		"etcd-unfenced": "the clocks of 3 lock servers differ by at most",
		"redis-single":  "against the auditor's clock, that of lock-1 is right, within",
	} {
		if out, status := u.run(t, "locklab", "up", lab); status != 0 {
			t.Fatalf("locklab up: %s", out)
		}
		if got := u.clocksOf(t, lab); !strings.Contains(got, want) {
			t.Errorf("%s: %s\nwant %q", lab, got, want)
		}
	}
	u.ahead(t, "etcd-unfenced", "lock-2", "2379")
	got := u.clocksOf(t, "etcd-unfenced")
	if !strings.Contains(got, "and http://10.77.0.12:2379 differ by") && !strings.Contains(got, "clocks of http://10.77.0.12:2379 and") ||
		!strings.Contains(got, "more than the second from which etcd's members warn each other") {
		t.Errorf("a member is 30 s ahead: %s", got)
	}
}

// clocksOf is what the report of an inspection says of wall clocks, in one line.
func (u user) clocksOf(t *testing.T, lab string) string {
	t.Helper()
	out, _ := u.run(t, "lockaudit", "audit", "--probes", "inspect-deployment", filepath.Join(u.home, "labs", lab, "plan.yaml"))
	_, said, _ := strings.Cut(strings.Join(strings.Fields(out), " "), "wall_clock_independent: ")
	said, _, _ = strings.Cut(said, " recovers_after_crash")
	return said
}

// ahead shows the server on a port of a lab's node a clock that is 30 s ahead, until
// the end of the test, and returns once it is so.
func (u user) ahead(t *testing.T, lab, node, port string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, filepath.Join(u.bin, "locklab"), "exec", lab, node, "--",
		filepath.Join(u.bin, "lockaudit"), "inject", "clock", "--port", port, "--offset", "+30s", "--for", "1m")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + u.home, "LOCKLAB_DIR=" + filepath.Join(u.home, "labs")}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	var said []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said = append(said, lines.Text())
		if strings.HasPrefix(lines.Text(), "injected ") {
			return
		}
	}
	t.Fatalf("no clock was skewed: %q", said)
}
