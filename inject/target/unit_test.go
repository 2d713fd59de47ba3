package target_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target"
	"github.com/lockaudit/lockaudit/inject/target/systemdtest"
)

func TestByUnit(t *testing.T) {
	systemdtest.Run(t, func(t *testing.T, m *systemdtest.Machine) {
		// The main process is the first one, whatever else the unit starts.
		pid := m.Start(t, "lock@a.service", "[Service]\nType=exec\nExecStart=/bin/sh -c '/bin/sleep 1000 & wait'\n")
		got := want(t, target.Selector{Unit: "lock@a.service"}, pid)
		if got.Unit != "lock@a.service" || got.Group != "/system.slice/system-lock.slice/lock@a.service" || got.Cgroup != got.Group || got.Container != "" {
			t.Errorf("%+v", got)
		}
		want(t, target.Selector{Unit: "lock@a"}, pid)
		if got := want(t, target.Selector{PID: pid}, pid); got.Unit != "lock@a.service" {
			t.Errorf("by pid: unit %q", got.Unit)
		}
		m.Write(t, "idle.service", "[Service]\nExecStart=/bin/sleep 1000\n")
		refused(t, target.Selector{Unit: "idle"}, target.ErrNone, "it is inactive")
		refused(t, target.Selector{Unit: "no-such"}, target.ErrNone, "not-found")
		m.Start(t, "once.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n")
		refused(t, target.Selector{Unit: "once"}, target.ErrNone)
		// Init itself, and a process that is in no unit.
		if got := want(t, target.Selector{Unit: "init.scope"}, 1); got.Unit != "init.scope" {
			t.Errorf("init.scope: %+v", got)
		}
		if got := want(t, target.Selector{PID: os.Getpid()}, os.Getpid()); got.Unit != "" || got.Group != "" {
			t.Errorf("a process of no unit: %+v", got)
		}
	})
}

// TestOtherPIDNamespace: in a pid namespace of its own, as in a container that
// systemd's socket was given to, systemd's number is another process's.
func TestOtherPIDNamespace(t *testing.T) {
	if os.Getenv("FOREIGN") != "" {
		refused(t, target.Selector{Unit: "a"}, inject.ErrRefused, "is this another pid namespace?", "(sleep)")
		return
	}
	systemdtest.Run(t, func(t *testing.T, m *systemdtest.Machine) {
		main := m.Start(t, "a.service", "[Service]\nExecStart=/bin/sleep 1000\n")
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		script := `while sleep 1000 & [ $! -lt ` + strconv.Itoa(main) + ` ]; do :; done; until read comm < /proc/$!/comm && [ "$comm" = sleep ]; do :; done; exec "$0" "$@"`
		cmd := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "--kill-child=KILL", "sh", "-c", script, exe, "-test.run=^TestOtherPIDNamespace$", "-test.v")
		cmd.Env = append(os.Environ(), "FOREIGN=1")
		if out, err := cmd.Output(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// TestSocketActivation: init keeps a socket open for a service; who answers there
// is the service.
func TestSocketActivation(t *testing.T) {
	systemdtest.Run(t, func(t *testing.T, m *systemdtest.Machine) {
		m.Write(t, "echo.service", "[Service]\nExecStart=/bin/sleep 1000\n")
		m.Start(t, "echo.socket", "[Socket]\nListenStream=127.0.0.1:7007\n")
		want(t, target.Selector{Port: 7007}, 1)
		pid := m.Start(t, "echo.service", "[Unit]\nRequires=echo.socket\n[Service]\nExecStart=/bin/sleep 1000\n")
		want(t, target.Selector{Port: 7007, Proto: "tcp"}, pid)
	})
}

// TestNoSystemd: the error says what is missing.
func TestNoSystemd(t *testing.T) {
	if _, err := os.Stat("/run/systemd/private"); err == nil {
		return // this machine has one
	}
	refused(t, target.Selector{Unit: "a"}, inject.ErrUnsupported, "connect to systemd")
}
