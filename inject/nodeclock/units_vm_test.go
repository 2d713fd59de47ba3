//go:build vm

package nodeclock_test

import (
	"errors"
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

	"golang.org/x/sys/unix"
)

// ntpUnits are the clients as units: ntpd's is the package's own, the others without
// the confinement that a systemd in a namespace cannot give.
func ntpUnits(t *testing.T) map[string]string {
	own, err := os.ReadFile(ntpUnit)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("/run/lock", 0o755); err != nil { // the wrapper of ntpd locks there
		t.Fatal(err)
	}
	return map[string]string{
		"chrony.service":            "[Service]\nStandardOutput=append:/tmp/client.log\nStandardError=append:/tmp/client.log\nExecStart=" + chronyd + " -d -u root -f /etc/chrony.conf\nRestart=always\n",
		"systemd-timesyncd.service": "[Service]\nType=notify\nExecStart=" + timesyncd + "\nRestart=always\nRestartSec=0\nUser=systemd-timesync\nAmbientCapabilities=CAP_SYS_TIME\nRuntimeDirectory=systemd/timesync\nStateDirectory=\n",
		"ntpsec.service":            strings.Replace(string(own), "[Service]", "[Service]\nStandardOutput=append:/tmp/client.log\nStandardError=append:/tmp/client.log", 1),
	}
}

// units are stopped, although systemd would start them again by itself, and started
// again; one that did not run is not started.
func units(t *testing.T, m *systemdtest.Machine) {
	for unit, content := range ntpUnits(t) {
		t.Run(unit, func(t *testing.T) {
			client(t, m, unit, content)
			for _, how := range []string{"as ordered", "by another, as after a crash", "after a failure"} {
				awaitState(t, unit+" is ready", ready(unit))
				f := allowed(t)
				if how == "after a failure" {
					f.FailAt("paused", errors.New("forced"))
				}
				p := plan(t, f, nodeclock.Params{Offset: -30 * time.Second})
				if !strings.Contains(strings.Join(p.Objects, "\n"), "systemd unit "+unit) {
					t.Errorf("the plan does not name %s: %q", unit, p.Objects)
				}
				if _, err := f.Inject(t.Context(), p); (err != nil) != (how == "after a failure") {
					t.Errorf("%s: inject: %v", how, err)
				}
				if !stopped(t, m, unit) {
					t.Errorf("%s is %s while the clock is wrong", unit, state(t, m, unit))
				}
				if how != "as ordered" {
					f = allowed(t)
				}
				mustRevert(t, f, p)
				if s := state(t, m, unit); s != "active" {
					t.Errorf("%s is %s after the revert %s", unit, s, how)
				}
			}
			halt(t, m, unit)
			f := allowed(t)
			p := plan(t, f, nodeclock.Params{Offset: time.Second})
			mustInject(t, f, p)
			mustRevert(t, f, p)
			if !stopped(t, m, unit) {
				t.Errorf("%s, which did not run, was started", unit)
			}
		})
	}
}

// dependents of an NTP client go on, and where systemd would stop one the fault is
// refused: nobody would start it again.
func dependents(t *testing.T, m *systemdtest.Machine) {
	const unit = "ntpsec.service"
	client(t, m, unit, ntpUnits(t)[unit])
	awaitState(t, unit+" is ready", ready(unit))
	pids := map[string]int{}
	for _, how := range []string{"Requires", "PartOf", "Requisite"} {
		name := strings.ToLower(how) + ".service"
		pids[name] = m.Start(t, name, fmt.Sprintf("[Unit]\n%s=%s\nAfter=%s\n[Service]\nExecStart=/bin/sleep 1000\n", how, unit, unit))
	}
	f := allowed(t)
	p := plan(t, f, nodeclock.Params{Offset: 30 * time.Second})
	mustInject(t, f, p)
	if !stopped(t, m, unit) {
		t.Errorf("%s is %s while the clock is wrong", unit, state(t, m, unit))
	}
	mustRevert(t, f, p)
	if s := state(t, m, unit); s != "active" {
		t.Errorf("%s is %s after the revert", unit, s)
	}
	for name, pid := range pids {
		if now := m.MainPID(t, name); now != pid {
			t.Errorf("%s is process %d, %s, and was %d", name, now, state(t, m, name), pid)
		}
	}
	m.Start(t, "bound.service", fmt.Sprintf("[Unit]\nBindsTo=%s\nAfter=%s\n[Service]\nExecStart=/bin/sleep 1000\n", unit, unit))
	_, err := f.Prepare(t.Context(), inject.Spec{Kind: nodeclock.Kind, For: time.Minute, Params: []byte(`{"offset":1000000000}`)})
	if !errors.Is(err, inject.ErrRefused) || !strings.Contains(err.Error(), "bound.service") {
		t.Errorf("prepare with a bound unit: %v, want %v", err, inject.ErrRefused)
	}
	halt(t, m, "bound.service")
	if _, err := f.Prepare(t.Context(), inject.Spec{Kind: nodeclock.Kind, For: time.Minute, Params: []byte(`{"offset":1000000000}`)}); err != nil {
		t.Errorf("prepare after its end: %v", err)
	}
}

// sameName: a client in a control group that only bears the name of a unit, as that of a
// container's systemd, is paused beside the unit.
func sameName(t *testing.T, m *systemdtest.Machine) {
	const unit, group = "chrony.service", "/sys/fs/cgroup/payload/chrony.service"
	client(t, m, unit, ntpUnits(t)[unit])
	awaitState(t, unit+" is ready", ready(unit))
	if err := os.MkdirAll(group, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-ec", `echo $$ > "$0"/cgroup.procs; exec "$@"`, group, ntpd, "-n", "-N", "-g", "-c", "/etc/ntpsec/ntp.conf")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	awaitState(t, "ntpd runs", func() bool { return len(running(t, "ntpd")) == 1 })
	f := allowed(t)
	p := plan(t, f, nodeclock.Params{Offset: 30 * time.Second})
	mustInject(t, f, p)
	if now := running(t, "ntpd"); !stopped(t, m, unit) || now[cmd.Process.Pid] != 'T' {
		t.Errorf("while the clock is wrong %s is %s and ntpd is %v", unit, state(t, m, unit), now)
	}
	mustRevert(t, f, p)
	awaitState(t, "both run", func() bool { return state(t, m, unit) == "active" && running(t, "ntpd")[cmd.Process.Pid] != 'T' })
}

// client starts an NTP client, whose words are shown if the test fails.
func client(t *testing.T, m *systemdtest.Machine, unit, content string) {
	t.Helper()
	t.Cleanup(func() {
		if b, err := os.ReadFile("/tmp/client.log"); t.Failed() && err == nil {
			t.Logf("it said:\n%s", b)
		}
	})
	m.Start(t, unit, content)
	awaitState(t, unit+" is active", func() bool { return state(t, m, unit) == "active" })
}

func state(t *testing.T, m *systemdtest.Machine, unit string) string {
	t.Helper()
	p, err := m.Conn.GetUnitPropertyContext(t.Context(), unit, "ActiveState")
	if err != nil {
		t.Fatal(err)
	}
	return p.Value.Value().(string)
}

func stopped(t *testing.T, m *systemdtest.Machine, unit string) bool {
	t.Helper()
	s := state(t, m, unit)
	return s == "inactive" || s == "failed"
}

func halt(t *testing.T, m *systemdtest.Machine, unit string) {
	t.Helper()
	done := make(chan string, 1)
	if _, err := m.Conn.StopUnitContext(t.Context(), unit, "replace", done); err != nil || <-done != "done" {
		t.Fatalf("stop %s: %v", unit, err)
	}
}

// ready says that the unit's process has become the program and takes SIGTERM as an
// order to end: chronyd that is killed before leaves its pid file, and does not start
// beside it.
func ready(unit string) func() bool {
	comm := map[string]string{"chrony.service": "chronyd", "ntpsec.service": "ntpd"}[unit]
	if comm == "" { // its word, for which systemd waits, comes later
		return func() bool { return true }
	}
	return func() bool {
		procs, _ := filepath.Glob("/proc/[0-9]*/status")
		for _, p := range procs {
			b, err := os.ReadFile(p)
			if err != nil {
				continue
			}
			name, rest, _ := strings.Cut(strings.TrimPrefix(string(b), "Name:\t"), "\n")
			_, caught, _ := strings.Cut(rest, "SigCgt:\t")
			var mask uint64
			if _, err := fmt.Sscanf(caught, "%x", &mask); err == nil && name == comm && mask&(1<<(unix.SIGTERM-1)) != 0 {
				return true
			}
		}
		return false
	}
}
