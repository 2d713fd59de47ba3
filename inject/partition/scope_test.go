package partition_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/partition"
	"github.com/lockaudit/lockaudit/inject/target"

	"golang.org/x/sys/unix"
)

// process is a copy of this test binary in a host and in a control group of its
// own, which sends datagrams and TCP as it is told.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	dir string
	in  io.WriteCloser
	out *bufio.Reader
}

// cgroup2 is where cgroup v2 is mounted and can be written.
func cgroup2(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		before, after, _ := strings.Cut(line, " - ")
		if f := strings.Fields(before); strings.HasPrefix(after, "cgroup2 ") && f[3] == "/" {
			return f[4]
		}
	}
	// Not in the usual place: mount it privately.
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "cgroup2", 0, ""); err != nil {
		t.Fatalf("mount cgroup2: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// newGroup makes a control group and removes it at the end.
func newGroup(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(cgroup2(t), "lockaudit-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		await(t, func() bool { return os.Remove(dir) == nil || os.IsNotExist(statErr(dir)) })
	})
	return dir
}

func statErr(path string) error {
	_, err := os.Stat(path)
	return err
}

// alone starts a process in the host, in a control group of its own.
func (h *host) alone() *process { return h.inGroup(newGroup(h.t)) }

func (h *host) inGroup(dir string) *process {
	h.t.Helper()
	p := &process{t: h.t, dir: dir}
	group, err := os.Open(dir)
	if err != nil {
		h.t.Fatal(err)
	}
	defer group.Close()
	h.in(func() error {
		p.cmd = exec.Command("/proc/self/exe", "-test.run=^$")
		p.cmd.Env = append(os.Environ(), talker+"=1")
		p.cmd.Stderr = os.Stderr
		p.cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
		if p.in, err = p.cmd.StdinPipe(); err != nil {
			return err
		}
		out, err := p.cmd.StdoutPipe()
		p.out = bufio.NewReader(out)
		if err != nil {
			return err
		}
		return p.cmd.Start()
	})
	h.t.Cleanup(p.end)
	return p
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) end() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// does has the process do something and returns what it says.
func (p *process) does(order string) string {
	p.t.Helper()
	fmt.Fprintln(p.in, order)
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatalf("%s: %v", order, err)
	}
	return strings.TrimSpace(line)
}

// pings says whether a round trip by a new socket works.
func (p *process) pings(network, addr string) bool {
	p.t.Helper()
	return p.does("ping "+network+" "+addr) == "yes"
}

// TestOneProcess: its packets are cut in the chosen directions, of old connections
// and new ones, and nobody else's.
func TestOneProcess(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	a.ready6(b)
	cut, other := a.alone(), a.alone()
	before := a.snapshot()
	for _, direction := range []string{"both", "in", "out"} {
		for _, v := range []struct{ network, addr, peer string }{
			{"udp", "10.99.0.2:0", "10.99.0.2"}, {"tcp", "10.99.0.2:0", "10.99.0.0/24"},
			{"udp", "[fd99::2]:0", "fd99::2"}, {"tcp", "[fd99::2]:0", "fd99::/64"},
		} {
			t.Run(direction+" "+v.network+" "+v.peer, func(t *testing.T) {
				e := echo(b, v.network, v.addr)
				for _, p := range []*process{cut, other} {
					if got := p.does("open " + v.network + " " + e.addr); got != "yes" {
						t.Fatalf("before the cut: %s", got)
					}
				}
				effect, heal := a.cut(partition.New(), "t", long, partition.Params{
					Peers: []string{v.peer}, Direction: direction, Process: target.Selector{PID: cut.pid()}})
				if !strings.Contains(effect.Seen, filepath.Base(cut.dir)) {
					t.Errorf("inject: %+v", effect)
				}
				if cut.does("again") != "no" || cut.pings(v.network, e.addr) {
					t.Error("the process is not cut off")
				}
				if other.does("still") != "yes" || other.does("reach "+v.network+" "+e.addr) != "yes" || !a.ping(echo(b, "udp", "10.99.0.2:0").addr, hang) {
					t.Error("another process is cut off")
				}
				if e := heal(); e.Count == 0 {
					t.Errorf("nothing was dropped: %+v", e)
				}
				await(t, func() bool { return cut.pings(v.network, e.addr) })
			})
		}
	}
	if now := a.snapshot(); now != before {
		t.Errorf("after all:\n%s\nbefore:\n%s", now, before)
	}
}

// TestServerProcess: who listens is cut off too.
func TestServerProcess(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	p := a.alone()
	addr := p.does("listen tcp 10.99.0.1:0")
	try := func() bool {
		var ok bool
		b.in(func() error { ok = roundTripTo("tcp", addr, 300*time.Millisecond) == nil; return nil })
		return ok
	}
	await(t, try)
	_, heal := a.cut(partition.New(), "t", long, partition.Params{Peers: []string{"10.99.0.2"}, Process: target.Selector{PID: p.pid()}})
	if try() {
		t.Error("the server is not cut off")
	}
	heal()
	await(t, try)
}

// TestNotAlone: a process that shares its control group is refused, and the
// refusal names who is there; its own children are no strangers.
func TestNotAlone(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	dir := newGroup(t)
	p, q := a.inGroup(dir), a.inGroup(dir)
	s := a.spec(long, partition.Params{Peers: []string{"10.99.0.2"}, Process: target.Selector{PID: p.pid()}})
	if _, err := partition.New().Prepare(testContext(t), s); !isRefused(err) || !strings.Contains(err.Error(), fmt.Sprint(q.pid())) {
		t.Errorf("prepare: %v", err)
	}
	q.end()
	if got := p.does("fork"); got != "yes" {
		t.Fatal(got)
	}
	if _, err := partition.New().Prepare(testContext(t), s); err != nil {
		t.Errorf("with a child: %v", err)
	}
	// This test itself is in a group with others, or in the root's.
	s = a.spec(long, partition.Params{Peers: []string{"10.99.0.2"}, Process: target.Selector{PID: os.Getppid()}})
	if _, err := partition.New().Prepare(testContext(t), s); err == nil {
		t.Error("prepare accepted a process among others")
	}
}

// TestScopeNeedsQueues: where what leaves can only be forwarded, nobody knows any
// more whose it is.
func TestScopeNeedsQueues(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	s := a.spec(long, partition.Params{Peers: []string{"10.99.0.2"}, Process: target.Selector{PID: a.alone().pid()}})
	if _, err := partition.NewForwarding().Prepare(testContext(t), s); !isUnsupported(err) {
		t.Errorf("prepare: %v, want %v", err, inject.ErrUnsupported)
	}
}
