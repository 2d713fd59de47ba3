//go:build vm

package nodeclock_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/nodeclock"
	"github.com/lockaudit/lockaudit/inject/target/systemdtest"
	"github.com/lockaudit/lockaudit/lab/vm"

	"golang.org/x/sys/unix"
)

// TestVMDaemons has real NTP clients: units of a real systemd, and one without a unit.
func TestVMDaemons(t *testing.T) {
	m := vm.Machine{MemoryMiB: 768}
	if !vm.Inside() {
		m.Programs = ntpPrograms(t)
		m.Files = map[string][]byte{
			"/etc/passwd":      []byte("root:x:0:0:root:/:/bin/sh\nsystemd-timesync:x:100:100::/:/bin/false\n"),
			"/etc/group":       []byte("root:x:0:\nsystemd-timesync:x:100:\n"),
			"/etc/chrony.conf": []byte("port 11123\nallow 127.0.0.1\ncmdport 0\nlocal stratum 10\npidfile /run/chronyd.pid\nbindcmdaddress /\n"),
		}
	}
	vm.Suite(t, m, []vm.Case{
		{Name: "a process without a unit", Test: bareProcess},
		{Name: "units", Test: func(t *testing.T) { systemdtest.Run(t, units) }},
	})
}

// ntpPrograms is what systemdtest runs on, and the clients, unpacked.
func ntpPrograms(t *testing.T) map[string]string {
	dir, err := vm.Dir()
	if err != nil {
		t.Fatal(err)
	}
	clients, err := vm.Closure(filepath.Join(dir, "ntp"), "/usr/sbin/chronyd", "/lib/systemd/systemd-timesyncd")
	if err != nil {
		t.Fatal(err)
	}
	base, err := vm.Closure("/", "/bin/sh", "/bin/mount", "/bin/mkdir", "/usr/bin/unshare", "/usr/bin/nsenter", "/lib/systemd/systemd")
	if err != nil {
		t.Fatal(err)
	}
	return vm.Join(base, clients)
}

// bareProcess is stopped and continued; it is the same process afterwards.
func bareProcess(t *testing.T) {
	cmd := exec.Command("/usr/sbin/chronyd", "-n", "-u", "root", "-f", "/etc/chrony.conf")
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_, _ = cmd.Process.Kill(), cmd.Wait()
	}()
	state := func() byte {
		s, err := inject.ReadStat(cmd.Process.Pid)
		if err != nil || s.Dead() {
			t.Fatalf("chronyd: %+v, %v: %s", s, err, log.String())
		}
		return s.State
	}
	awaitState(t, "chronyd has its name", func() bool {
		s, err := inject.ReadStat(cmd.Process.Pid)
		return err == nil && s.Comm == "chronyd"
	})
	f := allowed(t)
	p := plan(t, f, nodeclock.Params{Offset: 30 * time.Second})
	if !strings.Contains(strings.Join(p.Objects, "\n"), fmt.Sprintf("process %d (chronyd): SIGSTOP", cmd.Process.Pid)) {
		t.Errorf("the plan does not name it: %q", p.Objects)
	}
	mustInject(t, f, p)
	awaitState(t, "chronyd is stopped", func() bool { return state() == 'T' })
	mustRevert(t, f, p)
	awaitState(t, "chronyd runs", func() bool { return state() != 'T' })

	// One that somebody else has stopped is not continued.
	if err := unix.Kill(cmd.Process.Pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	awaitState(t, "chronyd is stopped", func() bool { return state() == 'T' })
	p = plan(t, f, nodeclock.Params{Offset: 30 * time.Second})
	mustInject(t, f, p)
	mustRevert(t, f, p)
	if s := state(); s != 'T' {
		t.Errorf("chronyd, which somebody else had stopped, is in state %c", s)
	}
}

const (
	chrony    = "[Service]\nStandardOutput=append:/tmp/chronyd.log\nStandardError=append:/tmp/chronyd.log\nExecStart=/usr/sbin/chronyd -d -u root -f /etc/chrony.conf\nRestart=always\n"
	timesyncd = "[Service]\nType=notify\nExecStart=/lib/systemd/systemd-timesyncd\nRestart=always\nRestartSec=0\nUser=systemd-timesync\nAmbientCapabilities=CAP_SYS_TIME\nRuntimeDirectory=systemd/timesync\nStateDirectory=\n"
)

// units are stopped, although systemd would start them again by itself, and started
// again; one that did not run is not started.
func units(t *testing.T, m *systemdtest.Machine) {
	for unit, content := range map[string]string{"chrony.service": chrony, "systemd-timesyncd.service": timesyncd} {
		t.Run(unit, func(t *testing.T) {
			t.Cleanup(func() {
				if b, err := os.ReadFile("/tmp/chronyd.log"); t.Failed() && err == nil {
					t.Logf("chronyd said:\n%s", b)
				}
			})
			m.Start(t, unit, content)
			state := func() string {
				p, err := m.Conn.GetUnitPropertyContext(t.Context(), unit, "ActiveState")
				if err != nil {
					t.Fatal(err)
				}
				return p.Value.Value().(string)
			}
			is := func(want string) func() bool { return func() bool { return state() == want } }
			stopped := func() bool { return is("inactive")() || is("failed")() }
			awaitState(t, unit+" is active", is("active"))
			for _, other := range []bool{false, true} {
				awaitState(t, unit+" is ready", ready(unit))
				f := allowed(t)
				p := plan(t, f, nodeclock.Params{Offset: -30 * time.Second})
				if !strings.Contains(strings.Join(p.Objects, "\n"), "systemd unit "+unit) {
					t.Errorf("the plan does not name %s: %q", unit, p.Objects)
				}
				mustInject(t, f, p)
				if !stopped() {
					t.Errorf("%s is %s while the clock is wrong", unit, state())
				}
				if other { // as after a crash
					f = allowed(t)
				}
				mustRevert(t, f, p)
				if !is("active")() {
					t.Errorf("%s is %s after the revert", unit, state())
				}
			}
			done := make(chan string, 1)
			if _, err := m.Conn.StopUnitContext(t.Context(), unit, "replace", done); err != nil || <-done != "done" {
				t.Fatalf("stop %s: %v", unit, err)
			}
			f := allowed(t)
			p := plan(t, f, nodeclock.Params{Offset: time.Second})
			mustInject(t, f, p)
			mustRevert(t, f, p)
			if !stopped() {
				t.Errorf("%s, which did not run, was started", unit)
			}
		})
	}
}

// ready says that the unit's process has become the program and takes SIGTERM as an
// order to end: chronyd that is killed before leaves its pid file, and does not start
// beside it.
func ready(unit string) func() bool {
	return func() bool {
		procs, _ := filepath.Glob("/proc/[0-9]*/status")
		for _, p := range procs {
			b, err := os.ReadFile(p)
			if err != nil {
				continue
			}
			name, rest, _ := strings.Cut(strings.TrimPrefix(string(b), "Name:\t"), "\n")
			if unit == "systemd-timesyncd.service" && name == "systemd-timesyn" { // systemd waits for its word
				return true
			}
			_, caught, _ := strings.Cut(rest, "SigCgt:\t")
			var mask uint64
			if _, err := fmt.Sscanf(caught, "%x", &mask); err == nil && unit == "chrony.service" && name == "chronyd" && mask&(1<<(unix.SIGTERM-1)) != 0 {
				return true
			}
		}
		return false
	}
}

func awaitState(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := inject.Now() + 30*time.Second; !ok(); time.Sleep(time.Millisecond) {
		if inject.Now() > end {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}
