package hold_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	ns "github.com/lockaudit/lockaudit/inject/netns"
	"github.com/lockaudit/lockaudit/inject/partition"
	"github.com/lockaudit/lockaudit/inject/target"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// host is a network namespace with a process in it, by which it is named.
type host struct {
	t    *testing.T
	file *os.File
	cmd  *exec.Cmd
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t}
	if err := ns.OnThrowawayThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		if h.file, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		h.cmd = exec.Command("sleep", "1000")
		return h.cmd.Start()
	}); err != nil {
		t.Fatalf("make a network namespace (as root, or under unshare -rn): %v", err)
	}
	t.Cleanup(h.remove)
	return h
}

// remove ends the namespace; safe to call twice.
func (h *host) remove() {
	_, _ = h.cmd.Process.Kill(), h.cmd.Wait()
	h.file.Close()
}

func (h *host) in(f func() error) {
	h.t.Helper()
	if err := h.tryIn(f); err != nil {
		h.t.Fatal(err)
	}
}

// tryIn runs f in the namespace; sockets that it opens stay there.
func (h *host) tryIn(f func() error) error {
	return ns.OnThrowawayThread(func() error {
		if err := unix.Setns(int(h.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

func (h *host) dial(network, addr string) net.Conn {
	h.t.Helper()
	var c net.Conn
	h.in(func() (err error) { c, err = net.DialTimeout(network, addr, 2*time.Minute); return err })
	h.t.Cleanup(func() { c.Close() })
	return c
}

// pair is two hosts with a cable: 10.99.0.1 and .2.
func pair(t *testing.T) (a, b *host) {
	t.Helper()
	a, b = newHost(t), newHost(t)
	links := func(h *host, f func(*netlink.Handle) error) {
		n, err := netlink.NewHandleAt(netns.NsHandle(h.file.Fd()), unix.NETLINK_ROUTE)
		if err == nil {
			err = f(n)
			n.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	links(a, func(n *netlink.Handle) error {
		return n.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(b.file.Fd())})
	})
	for i, h := range []*host{a, b} {
		links(h, func(n *netlink.Handle) error {
			l, err := n.LinkByName("eth0")
			if err != nil {
				return err
			}
			addr, err := netlink.ParseAddr(fmt.Sprintf("10.99.0.%d/24", i+1))
			if err == nil {
				err = n.AddrAdd(l, addr)
			}
			if err != nil {
				return err
			}
			return n.LinkSetUp(l)
		})
	}
	addr, _ := listen(b)
	for end := time.Now().Add(2 * time.Minute); a.tryIn(func() error {
		c, err := net.DialTimeout("tcp", addr, 100*time.Millisecond)
		if err == nil {
			c.Close()
		}
		return err
	}) != nil; {
		if time.Now().After(end) {
			t.Fatal("the cable does not work")
		}
	}
	return a, b
}

// snapshot is tables, chains and sets, as another library sees them.
func (h *host) snapshot() string {
	h.t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(int(h.file.Fd())), nftables.AsLasting())
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = c.CloseLasting() }()
	tables, err := c.ListTables()
	if err != nil {
		h.t.Fatal(err)
	}
	var lines []string
	for _, t := range tables {
		lines = append(lines, fmt.Sprintf("table %d %s", t.Family, t.Name))
	}
	chains, err := c.ListChains()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, ch := range chains {
		lines = append(lines, fmt.Sprintf("chain %s %s", ch.Table.Name, ch.Name))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

func (h *host) spec(d time.Duration, p partition.Params) inject.Spec {
	h.t.Helper()
	s, err := inject.ReadStat(h.cmd.Process.Pid)
	if err != nil {
		h.t.Fatal(err)
	}
	p.Netns.Of = target.Selector{PID: h.cmd.Process.Pid, StartTime: s.StartTime}
	b, err := json.Marshal(p)
	if err != nil {
		h.t.Fatal(err)
	}
	return inject.Spec{Kind: "hold", For: d, Params: b}
}

// hold injects and returns a function that releases.
func (h *host) hold(f inject.Fault, id string, d time.Duration, p partition.Params) (inject.Effect, func() inject.Effect) {
	h.t.Helper()
	plan, err := f.Prepare(testContext(h.t), h.spec(d, p))
	if err != nil {
		h.t.Fatal(err)
	}
	plan.ID = id
	e, err := f.Inject(testContext(h.t), plan)
	h.t.Cleanup(func() { _, _ = f.Revert(context.Background(), plan) })
	if err != nil {
		h.t.Fatal(err)
	}
	return e, func() inject.Effect {
		h.t.Helper()
		e, err := f.Revert(testContext(h.t), plan)
		if err != nil {
			h.t.Fatal(err)
		}
		return e
	}
}

// holder is another process that has the fault in effect.
func (h *host) holder(p inject.Plan) *exec.Cmd {
	h.t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), "INJECTTEST_ROLE=after inject")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(append(b, '\n')), os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	if _, err := out.Read(make([]byte, 64)); err != nil {
		h.t.Fatalf("holder: %v", err)
	}
	return cmd
}
