// Package sshtest has a machine for tests that is reached by the real ssh: an sshd in
// network, mount, PID and UTS namespaces of its own, with host key, users, sudo rules and
// configuration of its own, and beside it a desk, a network namespace from which one
// goes there. Nothing of this machine's sshd, of its users or of anybody's ~/.ssh is used
// or touched. When the test process dies the kernel ends sshd and all that it started.
//
//	m := sshtest.Start(t)
//	via := m.Via("app-a", "sudo")
//
// It needs root, iproute2, util-linux, sudo, an ssh and an sshd: `make deps`.
package sshtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The names by which ssh goes to the machine, in a configuration of the test's own.
const (
	// Good lets in whoever has the key: an ordinary user, who may run anything by sudo.
	Good = "app-a"
	// Root lets root in.
	Root = "root-a"
	// Asking lets a user in whom sudo asks for a password.
	Asking = "asking-a"
	// Limited may run the agent by sudo, and nothing else.
	Limited = "limited-a"
	// Stranger is the machine with a host key that nobody knows.
	Stranger = "stranger-a"
	// Changed is the machine with another host key than the one that is known.
	Changed = "changed-a"
	// Password is the machine to somebody without a key, whom it asks for a password.
	Password = "password-a"
	// WrongUser is a user that the machine does not have.
	WrongUser = "wrong-user-a"
	// Deaf is an address on which nobody listens, Nowhere a name that nobody has.
	Deaf    = "deaf-a"
	Nowhere = "nowhere.invalid"
)

const (
	address = "10.78.0.2"
	desk    = "10.78.0.1"
)

// limit bounds one step: only a hang should reach it.
const limit = 2 * time.Minute

// Machine is a running one.
type Machine struct {
	// PID is that of its sshd, the first process of the namespaces.
	PID int
	// Bin is its /usr/local/bin.
	Bin string

	desk int
	dir  string
}

// boot makes the machine and becomes sshd, $2. $1 is the test's directory.
const boot = `
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /var/log
mount -t tmpfs -o mode=755 tmpfs /var/lib
mkdir -p /run/sshd /var/lib/sudo
for f in passwd group shadow sudoers; do mount --bind "$1/etc/$f" "/etc/$f"; done
mount --bind "$1/bin" /usr/local/bin
hostname app-a
exec "$2" -D -e -f "$1/sshd_config"`

// Start starts the machine; it ends with the test.
func Start(t testing.TB) *Machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("namespaces with users of their own need root")
	}
	sshd, env := server(t)
	m := &Machine{dir: workDir(t)}
	m.Bin = filepath.Join(m.dir, "bin")
	m.write(t)
	runtime.LockOSThread() // the children die with this thread
	t.Cleanup(runtime.UnlockOSThread)

	sleep := exec.Command("sleep", "infinity")
	sleep.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = sleep.Process.Kill(), sleep.Wait() })
	m.desk = sleep.Process.Pid

	cmd := exec.Command("sh", "-ec", boot, "sh", m.dir, sshd)
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS,
		Setsid:     true, Pdeathsig: syscall.SIGKILL,
	}
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
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
			t.Logf("sshd said:\n%s", log.String())
		}
	})
	m.PID = cmd.Process.Pid
	m.wire(t)
	var said []byte
	await(t, "sshd answers", func() bool {
		select {
		case <-ended:
			t.Fatalf("sshd ended: %s", log.String())
		default:
		}
		var err error
		argv := m.Via(Root, "true")
		said, err = exec.Command(argv[0], argv[1:]...).CombinedOutput()
		return err == nil
	}, func() string { return string(said) })
	return m
}

// Via is the command that gives stdio on the machine: ssh, run at the desk, to one of the
// names above, and what is to be in front of the program there.
func (m *Machine) Via(name string, then ...string) []string {
	return append([]string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", m.desk), "ssh", "-F", filepath.Join(m.dir, "ssh_config"), name}, then...)
}

// Proc is a file of a process of the machine, by its pid there.
func (m *Machine) Proc(pid int, file string) string {
	return fmt.Sprintf("/proc/%d/root/proc/%d/%s", m.PID, pid, file)
}

// Inside is a command in the machine's namespaces, as root, without any ssh.
func (m *Machine) Inside(argv ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--target", strconv.Itoa(m.PID), "--mount", "--pid", "--net", "--uts", "--"}, argv...)...)
}

// Cut has packets between desk and machine vanish, in both directions: they go on being
// sent, to nobody, and neither end is told. Heal ends that.
func (m *Machine) Cut(t testing.TB) {
	t.Helper()
	const nobody = "02:00:00:00:00:ff"
	m.neighbours(t, func(peer string) []string {
		return []string{"ip", "neigh", "replace", peer, "lladdr", nobody, "dev", "eth0", "nud", "permanent"}
	})
}

// Heal ends Cut.
func (m *Machine) Heal(t testing.TB) {
	t.Helper()
	m.neighbours(t, func(peer string) []string { return []string{"ip", "neigh", "del", peer, "dev", "eth0"} })
}

// wire links the desk and the machine.
func (m *Machine) wire(t testing.TB) {
	t.Helper()
	run(t, inNet(m.desk, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(m.PID)))
	for pid, ip := range map[int]string{m.desk: desk, m.PID: address} {
		run(t, inNet(pid, "ip", "address", "add", ip+"/24", "dev", "eth0"))
		run(t, inNet(pid, "ip", "link", "set", "lo", "up"))
		run(t, inNet(pid, "ip", "link", "set", "eth0", "up"))
	}
}

func inNet(pid int, argv ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{fmt.Sprintf("--net=/proc/%d/ns/net", pid)}, argv...)...)
}

func run(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
}

func (m *Machine) neighbours(t testing.TB, argv func(peer string) []string) {
	t.Helper()
	run(t, inNet(m.desk, argv(address)...))
	run(t, inNet(m.PID, argv(desk)...))
}

// EndSessions kills the sshd processes behind the connections that there are, those of
// root and those of the user: the one that listens goes on.
func (m *Machine) EndSessions(t testing.TB) {
	t.Helper()
	var sessions []int
	for more := children(t, m.PID); len(more) > 0; {
		pid := more[0]
		more = more[1:]
		if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); strings.HasPrefix(string(comm), "sshd") {
			sessions = append(sessions, pid)
			more = append(more, children(t, pid)...)
		}
	}
	if len(sessions) == 0 {
		t.Fatal("there is no session of sshd")
	}
	for _, pid := range sessions {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
	}
}

// children are those of a process, as the kernel lists them.
func children(t testing.TB, pid int) []int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil { // it has ended
		return nil
	}
	var out []int
	for _, word := range strings.Fields(string(b)) {
		n, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, n)
	}
	return out
}

func await(t testing.TB, what string, done func() bool, said func() string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); !done(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s: %s", limit, what, said())
		}
	}
}
