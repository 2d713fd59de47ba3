package lockaudit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/lab"
)

// nobody is a user without any privilege, on every Debian.
const nobody = 65534

// programs builds what a user builds, into a folder that every user can read.
func programs(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lockaudit-demo-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lockaudit", "lockaudit-agent", "locklab"} {
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, name), "./cmd/"+name)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	return dir
}

// user is one who runs the programs, with folders of its own.
type user struct {
	bin, home string
	uid       int
}

func newUser(t *testing.T, bin string, uid int) user {
	t.Helper()
	home, err := os.MkdirTemp("", "lockaudit-home-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	if err := os.Chown(home, uid, uid); err != nil {
		t.Fatal(err)
	}
	u := user{bin: bin, home: home, uid: uid}
	t.Cleanup(func() {
		if out, status := u.run(t, "locklab", "down", "--all"); status != 0 {
			t.Errorf("locklab down --all: %s", out)
		}
	})
	return u
}

// run returns stdout and stderr together, and the exit status.
func (u user) run(t *testing.T, program string, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(u.bin, program), args...)
	cmd.Dir = u.home
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + u.home, "LOCKLAB_DIR=" + filepath.Join(u.home, "labs")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(u.uid), Gid: uint32(u.uid)}}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatalf("run %s: %v", program, err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// TestDemo is `make demo`: every lab is audited and gets its right grade and its
// right verdict on every item, with the accepted stale write as evidence, for root
// and for an ordinary user. The probes repeat what a machine that stands still did not
// let them show; should it do so three times in a row, the demo is tried once more. A
// wrong verdict is not.
func TestDemo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test changes users and must be run as root")
	}
	const attempts = 2
	bin := programs(t)
	for name, uid := range map[string]int{"root": 0, "unprivileged": nobody} {
		t.Run(name, func(t *testing.T) {
			for n := 1; n <= attempts; n++ {
				missing := demo(t, newUser(t, bin, uid))
				if len(missing) == 0 || t.Failed() {
					return
				}
				t.Logf("attempt %d did not show everything:\n%s", n, strings.Join(missing, "\n"))
			}
			t.Errorf("no demo of %d showed everything", attempts)
		})
	}
}

// demo runs it once and returns what it did not show; what is wrong fails the test.
func demo(t *testing.T, u user) (missing []string) {
	out, status := u.run(t, "locklab", "demo")
	// The others after it: a machine is fast enough for so many at once.
	more := []string{"demo"}
	for _, l := range lab.All() {
		if l.Extra {
			more = append(more, l.Name)
		}
	}
	extra, other := u.run(t, "locklab", more...)
	c := calibrate(t, filepath.Join(u.home, "runs"))
	if len(c.wrong) > 0 {
		t.Errorf("wrong verdicts:\n%s", strings.Join(c.wrong, "\n"))
	}
	missing = c.unshown
	if status != 0 || other != 0 {
		return append(missing, fmt.Sprintf("exit statuses %d and %d\n%s%s", status, other, out, extra))
	}
	for _, l := range lab.All() {
		section := between(out+extra, "=== "+l.Name+":", "\nrun ")
		if !strings.Contains(section, "│ "+l.Letter+" │") || !strings.Contains(section, "items tested") {
			t.Errorf("%s: no letter %s with its coverage:\n%s", l.Name, l.Letter, section)
		}
		if slices.Contains(l.Verdicts(), lab.Verdict{Item: "fencing_enforced", Outcome: "fail"}) && !strings.Contains(section, "→ accepted (stale") {
			missing = append(missing, fmt.Sprintf("%s: the accepted stale write is not shown:\n%s", l.Name, section))
		}
		// One server of the fewest that can grant is enough; a restart of one after the
		// other would come to three of five as well.
		if l.Backend == lab.Redlock && !strings.Contains(strings.Join(strings.Fields(section), " "), "the lock was forgotten when the server on lock-1 was killed") {
			missing = append(missing, fmt.Sprintf("%s: it is not shown that one restart grants twice:\n%s", l.Name, section))
		}
	}
	if _, repair, _ := strings.Cut(out, "=== the repair: "); !strings.Contains(repair, "F → A") || !strings.Contains(strings.Join(strings.Fields(repair), " "), "fencing_enforced fail, harm seen → pass") {
		missing = append(missing, "the demo does not end with the repair:\n"+repair)
	}
	return missing
}

func between(s, from, to string) string {
	_, s, _ = strings.Cut(s, from)
	s, _, _ = strings.Cut(s, to)
	return s
}

// TestRefusedOnTheLab: what only a real etcd cluster can refuse.
func TestRefusedOnTheLab(t *testing.T) {
	u := newUser(t, programs(t), os.Geteuid())
	if out, status := u.run(t, "locklab", "up", "etcd-unfenced"); status != 0 {
		t.Fatalf("locklab up: %s", out)
	}
	plan, err := os.ReadFile(filepath.Join(u.home, "labs", "etcd-unfenced", "plan.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]struct{ old, new, want string }{
		"ttl below the minimum": {"ttl: 2s", "ttl: 300ms", "lease is not granted as asked: asked for 300ms, granted 2s"},
		"tls to a plain server": {"ttl: 2s", "ttl: 2s\n  tls: {ca: /nowhere/ca.pem}", "is plain while others use TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(u.home, "edited.yaml")
			if err := os.WriteFile(path, bytes.Replace(plan, []byte(edit.old), []byte(edit.new), 1), 0o644); err != nil {
				t.Fatal(err)
			}
			out, status := u.run(t, "lockaudit", "audit", path)
			if status != 3 || !strings.Contains(out, edit.want) || !strings.Contains(out, "hint: ") {
				t.Errorf("exit status %d, want 3 with %q and a hint:\n%s", status, edit.want, out)
			}
		})
	}
}
