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
	"github.com/lockaudit/lockaudit/lab/vm"

	"golang.org/x/sys/unix"
)

// Where the programs of the packages lie in the machine. Two packages bring an ntpd.
const (
	chronyd   = "/usr/sbin/chronyd"
	timesyncd = "/lib/systemd/systemd-timesyncd"
	ntpd      = "/usr/sbin/ntpd" // of ntpsec, which is Debian's ntp
	openntpd  = "/opt/openntpd/ntpd"
	ntpWrap   = "/usr/libexec/ntpsec/ntp-systemd-wrapper"
	ntpUnit   = "/lib/systemd/system/ntpsec.service"
)

// TestVMDaemons has real NTP clients: units of a real systemd, and some without a unit.
func TestVMDaemons(t *testing.T) {
	m := vm.Machine{MemoryMiB: 768}
	if !vm.Inside() {
		m.Programs = ntpPrograms(t)
		m.Files = map[string][]byte{
			"/etc/passwd":               []byte("root:x:0:0:root:/:/bin/sh\nsystemd-timesync:x:100:100::/:/bin/false\nntpsec:x:101:101::/:/bin/false\nntpd:x:102:102::/var/lib/openntpd/run:/bin/false\n"),
			"/etc/group":                []byte("root:x:0:\nsystemd-timesync:x:100:\nntpsec:x:101:\nntpd:x:102:\n"),
			"/etc/chrony.conf":          []byte("port 11123\nallow 127.0.0.1\ncmdport 0\nlocal stratum 10\npidfile /run/chronyd.pid\nbindcmdaddress /\n"),
			"/etc/ntpsec/ntp.conf":      []byte("restrict default kod nomodify nopeer noquery limited\n"),
			"/etc/openntpd/ntpd.conf":   []byte("listen on 127.0.0.1\n"),
			"/etc/default/ntpsec":       []byte("NTPD_OPTS=\"-g -N\"\n"), // as the package has it
			"/var/lib/openntpd/db/kept": nil,
			"/var/lib/openntpd/run/sub": nil,
			"/etc/services":             []byte("ntp 123/udp\n"),
			"/var/tmp/kept":             nil, // PrivateTmp= wants it
		}
	}
	vm.Suite(t, m, []vm.Case{
		{Name: "chronyd without a unit", Test: func(t *testing.T) {
			bareProcess(t, "chronyd", 1, chronyd, "-n", "-u", "root", "-f", "/etc/chrony.conf")
		}},
		{Name: "ntpd without a unit", Test: func(t *testing.T) {
			bareProcess(t, "ntpd", 1, ntpd, "-n", "-N", "-g", "-c", "/etc/ntpsec/ntp.conf")
		}},
		{Name: "openntpd, three processes without a unit", Test: func(t *testing.T) { bareProcess(t, "ntpd", 3, openntpd, "-d") }},
		{Name: "one that cannot be stopped", Test: unstoppable},
		{Name: "units", Test: func(t *testing.T) { systemdtest.Run(t, units) }},
		{Name: "units that depend on one", Test: func(t *testing.T) { systemdtest.Run(t, dependents) }},
		{Name: "a container's unit of the same name", Test: func(t *testing.T) { systemdtest.Run(t, sameName) }},
	})
}

// ntpPrograms is what systemdtest runs on, and the clients, unpacked.
func ntpPrograms(t *testing.T) map[string]string {
	dir, err := vm.Dir()
	if err != nil {
		t.Fatal(err)
	}
	closure := func(under string, programs ...string) map[string]string {
		m, err := vm.Closure(under, programs...)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	other := closure(filepath.Join(dir, "openntpd"), ntpd)
	other[openntpd] = other[ntpd]
	delete(other, ntpd)
	root := filepath.Join(dir, "ntp")
	return vm.Join(
		closure("/", "/bin/sh", "/bin/mount", "/bin/mkdir", "/usr/bin/unshare", "/usr/bin/nsenter", "/usr/bin/flock", "/lib/systemd/systemd"),
		closure(root, chronyd, timesyncd, ntpd), other,
		map[string]string{ntpWrap: filepath.Join(root, ntpWrap), ntpUnit: filepath.Join(root, ntpUnit)})
}

// running are the processes of that name, as states by process.
func running(t *testing.T, name string) map[int]byte {
	t.Helper()
	out := map[int]byte{}
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		var pid int
		if _, err := fmt.Sscan(filepath.Base(p), &pid); err != nil {
			t.Fatal(err)
		}
		if s, err := inject.ReadStat(pid); err == nil && s.Comm == name && !s.Dead() {
			out[pid] = s.State
		}
	}
	return out
}

// bareProcess is stopped and continued, with all that are of the program; they are the
// same processes afterwards.
func bareProcess(t *testing.T, name string, count int, argv ...string) {
	cmd := exec.Command(argv[0], argv[1:]...)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		_ = cmd.Wait()
		awaitState(t, name+" is gone", func() bool { return len(running(t, name)) == 0 })
		if t.Failed() {
			t.Logf("%s said:\n%s", argv, log.String())
		}
	}()
	var there map[int]byte
	awaitState(t, fmt.Sprintf("there are %d processes %s", count, name), func() bool {
		there = running(t, name)
		return len(there) == count
	})
	all := func(stopped bool) bool {
		now := running(t, name)
		for pid := range there {
			if s, ok := now[pid]; !ok || (s == 'T') != stopped {
				return false
			}
		}
		return len(now) == len(there)
	}
	f := allowed(t)
	p := plan(t, f, nodeclock.Params{Offset: 30 * time.Second})
	for pid := range there {
		if !strings.Contains(strings.Join(p.Objects, "\n"), fmt.Sprintf("process %d (%s): SIGSTOP", pid, name)) {
			t.Errorf("the plan does not name %d: %q", pid, p.Objects)
		}
	}
	mustInject(t, f, p)
	if !all(true) {
		t.Errorf("while the clock is wrong there are %v, want all of %v stopped", running(t, name), there)
	}
	mustRevert(t, f, p)
	awaitState(t, name+" runs", func() bool { return all(false) })
	f = allowed(t).FailAt("paused", errors.New("forced"))
	if _, err := f.Inject(t.Context(), p); err == nil || !all(true) {
		t.Errorf("a failure after the pause: %v, and there are %v", err, running(t, name))
	}
	mustRevert(t, allowed(t), p)
	awaitState(t, name+" runs", func() bool { return all(false) })

	// One that somebody else has stopped is not continued.
	for pid := range there {
		if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	awaitState(t, name+" is stopped", func() bool { return all(true) })
	f = allowed(t)
	p = plan(t, f, nodeclock.Params{Offset: 30 * time.Second})
	mustInject(t, f, p)
	mustRevert(t, f, p)
	if !all(true) {
		t.Errorf("%s, which somebody else had stopped: %v", name, running(t, name))
	}
}

// unstoppable: a client that does not come to the signal, here because it is frozen, might
// set the clock yet. Without its stop nothing is disturbed.
func unstoppable(t *testing.T) {
	group := "/cgroup/unstoppable"
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(group, file), []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(ntpd, "-n", "-N", "-g", "-c", "/etc/ntpsec/ntp.conf")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	awaitState(t, "ntpd runs", func() bool { return len(running(t, "ntpd")) == 1 })
	write("cgroup.procs", fmt.Sprint(cmd.Process.Pid))
	write("cgroup.freeze", "1")
	defer write("cgroup.freeze", "0")
	awaitState(t, "ntpd is frozen", func() bool {
		b, err := os.ReadFile(filepath.Join(group, "cgroup.events"))
		return err == nil && strings.Contains(string(b), "frozen 1")
	})
	f := allowed(t)
	p := plan(t, f, nodeclock.Params{Offset: 30 * time.Second})
	if _, err := f.Inject(t.Context(), p); err == nil || !strings.Contains(err.Error(), "after SIGSTOP") {
		t.Errorf("inject: %v, want a word about a client that is not stopped", err)
	}
	if d := off(t, p); d.Abs() > close {
		t.Errorf("the clock is %v off", d)
	}
	mustRevert(t, f, p)
	write("cgroup.freeze", "0")
	awaitState(t, "ntpd runs", func() bool { s, ok := running(t, "ntpd")[cmd.Process.Pid]; return ok && s != 'T' })
}

func awaitState(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := inject.Now() + 30*time.Second; !ok(); time.Sleep(time.Millisecond) {
		if inject.Now() > end {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}
