package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/clock"
	"github.com/lockaudit/lockaudit/inject/partition"
	"github.com/lockaudit/lockaudit/inject/pause"
	"github.com/lockaudit/lockaudit/inject/target"
	"github.com/lockaudit/lockaudit/inject/target/systemdtest"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// subject is a real target of a fault, for the safety matrix and the soak.
type subject struct {
	kind     string
	params   func(down time.Duration) json.RawMessage
	patience time.Duration
	// snapshot describes all that the fault may change and nothing that changes by
	// itself.
	snapshot func() string
	// alike makes the state that the fault makes, as somebody else may after a
	// reboot: nobody may take it for the fault.
	alike func(id string)
}

func (s subject) spec(d time.Duration) inject.Spec {
	return inject.Spec{Kind: s.kind, For: d, Patience: s.patience, Params: s.params(d)}
}

// always are params that do not depend on the deadline.
func always(v any) func(time.Duration) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return func(time.Duration) json.RawMessage { return b }
}

// kindCase is a row of docs/safety.md.
type kindCase struct {
	name  string
	make  func(testing.TB) subject
	cells cells
}

// kindCases is the list; a kind of fault is one entry.
func kindCases() []kindCase {
	return []kindCase{
		{"pause, SIGSTOP", pauseSubject, kernelUndoes()},
		{"pause, ptrace", ptraceSubject, kernelUndoes()},
		{"pause, freezer", freezerSubject, journalUndoes()},
		{"pause, stutter", stutterSubject, kernelUndoes()},
		{"partition", partitionSubject, kernelUndoes().with(bothStopped, elements)},
		{"partition of one process, flapping", flappingSubject, kernelUndoes().with(bothStopped, elements)},
		{"hold", holdSubject, kernelUndoes()},
		{"clock of a process", clockSubject, journalUndoes().with(guardStopped, leaseEnds).with(bothStopped, leaseEnds)},
		{"crash of a process", crashSubject, standbyUndoes()},
		{"hook", hookSubject, journalUndoes()},
	}
}

func pauseSubject(t testing.TB) subject {
	pid := victim(t)
	return subject{
		kind: pause.Kind, params: always(map[string]int{"pid": pid}),
		snapshot: func() string { return fmt.Sprintf("stopped=%v gone=%v", stopped(pid), gone(pid)) },
		alike:    func(string) { stop(t, pid) },
	}
}

// ptraceSubject: a traced process runs on when its tracer is gone.
func ptraceSubject(t testing.TB) subject {
	s := pauseSubject(t)
	var p pause.Params
	if err := json.Unmarshal(s.params(0), &p); err != nil {
		t.Fatal(err)
	}
	p.Method = pause.MethodPtrace
	s.params = always(p)
	return s
}

// freezerSubject is a container as the freezer sees one.
func freezerSubject(t testing.TB) subject {
	group := filepath.Join(systemdtest.NewGroup(t), "docker-"+strings.Repeat("5a", 32)+".scope")
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	pid := victim(t)
	write := func(file, value string) {
		if err := os.WriteFile(filepath.Join(group, file), []byte(value), 0); err != nil {
			t.Error(err)
		}
	}
	write("cgroup.procs", fmt.Sprint(pid))
	return subject{
		kind: pause.Kind, params: always(pause.Params{PID: pid, Method: pause.MethodFreezer}),
		snapshot: func() string {
			events, err := os.ReadFile(filepath.Join(group, "cgroup.events"))
			marks := make([]byte, 256)
			n, _ := unix.Listxattr(group, marks)
			return fmt.Sprintf("%s %v marks=%q gone=%v", events, err, marks[:max(n, 0)], gone(pid))
		},
		alike: func(string) {
			write("cgroup.freeze", "1")
			within(t, "it is frozen", func() bool {
				events, err := os.ReadFile(filepath.Join(group, "cgroup.events"))
				return err == nil && strings.Contains(string(events), "frozen 1")
			})
		},
	}
}

// space is a network namespace with a process in it and one interface.
type space struct {
	t    testing.TB
	pid  int
	file *os.File
}

func newSpace(t testing.TB) *space {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	s := &space{t, cmd.Process.Pid, f}
	h, err := netlink.NewHandleAt(netns.NsHandle(f.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth1"}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *space) nft(f func(*nftables.Conn) error) {
	s.t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(int(s.file.Fd())), nftables.AsLasting())
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = c.CloseLasting() }()
	if err := f(c); err != nil {
		s.t.Fatal(err)
	}
}

// tables are the namespace's tables and chains, as another library sees them.
func (s *space) tables() string {
	var out []string
	s.nft(func(c *nftables.Conn) error {
		tables, err := c.ListTables()
		if err != nil {
			return err
		}
		for _, t := range tables {
			out = append(out, fmt.Sprintf("table %d %s", t.Family, t.Name))
		}
		chains, err := c.ListChains()
		for _, ch := range chains {
			out = append(out, fmt.Sprintf("chain %d %s %s", ch.Table.Family, ch.Table.Name, ch.Name))
		}
		return err
	})
	sort.Strings(out)
	return strings.Join(out, "\n")
}

func partitionSubject(t testing.TB) subject {
	s, _ := spaceSubject(t)
	return s
}

// spaceSubject is a namespace that is cut off from peers, and the process in it.
func spaceSubject(t testing.TB) (subject, *space) {
	s := newSpace(t)
	params := partition.Params{Peers: []string{"10.99.0.2", "fd99::2", "10.98.0.0/24"}}
	params.Netns.Of = target.Selector{PID: s.pid, StartTime: startTime(t, s.pid)}
	return subject{
		kind: partition.Kind, params: always(params), snapshot: s.tables,
		alike: func(id string) {
			s.nft(func(c *nftables.Conn) error {
				c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "lockaudit-" + id})
				return c.Flush()
			})
		},
	}, s
}

func startTime(t testing.TB, pid int) uint64 {
	t.Helper()
	s, err := inject.ReadStat(pid)
	if err != nil {
		t.Fatal(err)
	}
	return s.StartTime
}

// clockSubject is a process that reads the time. What the lease in the stub has
// ended is over, although the stub is still there.
func clockSubject(t testing.TB) subject {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), testRole+"=watch")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	const far = 1000 * time.Hour
	wrong := func() string {
		var shown int64
		if _, err := fmt.Fprintln(in); err != nil {
			return "gone"
		}
		if _, err := fmt.Fscanln(out, &shown); err != nil {
			return "gone"
		}
		return fmt.Sprintf("wrong=%v", time.Until(time.Unix(0, shown)).Abs() > far/2)
	}
	wrong() // it has been executed
	params := fmt.Appendf(nil, `{"target":{"pid":%d},"offset":%d}`, cmd.Process.Pid, far)
	return subject{
		kind: clock.Kind, params: always(json.RawMessage(params)), snapshot: wrong,
		alike: func(id string) {
			f := clock.New()
			p, err := f.Prepare(context.Background(), inject.Spec{Kind: clock.Kind, For: time.Hour, Params: params})
			p.ID = id
			if err == nil {
				_, err = f.Inject(context.Background(), p)
			}
			if err != nil {
				t.Error(err)
			}
		},
	}
}

// watchClock tells the time for each line of stdin.
func watchClock() {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(time.Now().UnixNano())
	}
}
