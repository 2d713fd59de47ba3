// Package systemdtest runs a test on a machine of its own whose pid 1 is the real
// systemd: in fresh PID, mount, network, UTS, IPC and cgroup namespaces, with a
// private /run, a cgroup v2 tree of its own and no units but the test's.
//
//	func TestUnit(t *testing.T) {
//		systemdtest.Run(t, func(t *testing.T, m *systemdtest.Machine) {
//			pid := m.Start(t, "a.service", "[Service]\nExecStart=/bin/sleep 1000\n")
//			…
//		})
//	}
//
// The body runs in a copy of the test binary inside, so that whatever it starts,
// an agent too, is there as well. When the test process dies, for whatever reason,
// the kernel ends systemd and with it everything inside. It needs root, systemd
// and util-linux.
package systemdtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec" //nolint:depguard // no fault: only tests import this, as arch_test.go sees to
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inside tells a copy of the test binary that it is the body.
const inside = "SYSTEMDTEST_INSIDE"

// limit bounds one step: only a hang should reach it.
const limit = 2 * time.Minute

// boot makes the machine and becomes systemd. $1 is the directory for temporary
// files, which stays writable; the rest of the disk is read-only.
const boot = `
mount --make-rprivate /
mount --bind "$1" "$1"
mount -o remount,bind,ro /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir /run/units
for t in sysinit basic shutdown default; do echo "[Unit]" > /run/units/$t.target; done
export container=lockaudit-test SYSTEMD_UNIT_PATH=/run/units SYSTEMD_GENERATOR_PATH=/run/none SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/run/none
exec /lib/systemd/systemd --system --unit=default.target --log-target=console --show-status=no`

// Run runs body inside a new machine, once per call of the test.
func Run(t *testing.T, body func(*testing.T, *Machine)) {
	t.Helper()
	if os.Getenv(inside) == t.Name() {
		body(t, connect(t))
		return
	}
	runtime.LockOSThread() // the children die with this thread
	defer runtime.UnlockOSThread()
	pid := start(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	argv := []string{"--target", strconv.Itoa(pid), "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--wd=" + workDir(t), "--",
		// As a login or a service has it: a cgroup of one's own.
		"sh", "-ec", `mkdir -p /sys/fs/cgroup/test; echo $$ > /sys/fs/cgroup/test/cgroup.procs; exec "$@"`, "sh",
		exe, "-test.run=" + exactly(t.Name()), "-test.v", "-test.timeout=15m"}
	cmd := exec.Command("nsenter", argv...)
	cmd.Env = append(os.Environ(), inside+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Fatalf("inside: %v\n%s", err, out)
	case !bytes.Contains(out, []byte("--- PASS: "+t.Name())):
		t.Fatalf("inside: the test did not run:\n%s", out)
	}
}

// exactly is the pattern of one test, part by part.
func exactly(name string) string {
	return "^" + strings.ReplaceAll(name, "/", "$/^") + "$"
}

func workDir(t *testing.T) string {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// start boots systemd and returns its pid here.
func start(t *testing.T) int {
	t.Helper()
	group := NewGroup(t)
	dir, err := os.Open(group)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command("sh", "-ec", `exec unshare --cgroup sh -ec "$0" sh "$1"`, boot, os.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		UseCgroupFD: true, CgroupFD: int(dir.Fd()),
		Setsid: true, Pdeathsig: syscall.SIGKILL,
	}
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatalf("start systemd: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("systemd said:\n%s", log.String())
		}
	})
	socket := fmt.Sprintf("/proc/%d/root/run/systemd/private", cmd.Process.Pid)
	await(t, "systemd listens", func() bool {
		select {
		case <-ended:
			t.Fatalf("systemd ended: %s", log.String())
		default:
		}
		_, err := os.Stat(socket)
		return err == nil
	})
	return cmd.Process.Pid
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, limit)
		}
	}
}
