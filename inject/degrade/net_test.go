package degrade_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/degrade"
	"github.com/lockaudit/lockaudit/inject/netns"
	"github.com/lockaudit/lockaudit/inject/target"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
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
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root, or under unshare -rn")
	}
	h := &host{t: t}
	err := netns.OnThrowawayThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		if h.file, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		h.cmd = exec.Command("sleep", "1000")
		return h.cmd.Start()
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.remove)
	h.links(func(n *netlink.Handle) error { return up(n, "lo") })
	return h
}

// remove ends the namespace; safe to call twice.
func (h *host) remove() {
	_ = h.cmd.Process.Kill()
	_ = h.cmd.Wait()
	h.file.Close()
}

// in runs f in the namespace; sockets that it opens stay there.
func (h *host) in(f func() error) {
	h.t.Helper()
	err := netns.OnThrowawayThread(func() error {
		if err := unix.Setns(int(h.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) links(f func(*netlink.Handle) error) {
	h.t.Helper()
	n, err := netlink.NewHandleAt(vnetns.NsHandle(h.file.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		h.t.Fatal(err)
	}
	defer n.Close()
	if err := f(n); err != nil {
		h.t.Fatal(err)
	}
}

func up(n *netlink.Handle, name string) error {
	l, err := n.LinkByName(name)
	if err != nil {
		return err
	}
	return n.LinkSetUp(l)
}

func address(n *netlink.Handle, name, cidr string) error {
	l, err := n.LinkByName(name)
	if err != nil {
		return err
	}
	a, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	a.Flags = unix.IFA_F_NODAD
	return n.AddrAdd(l, a)
}

// pair is two hosts with two cables: eth0 has 10.99.0.1 and .2, .3 and fd99::1 and
// ::2, eth1 has 10.99.1.1 and .2.
func pair(t *testing.T) (a, b *host) {
	t.Helper()
	a, b = newHost(t), newHost(t)
	for i := range 2 {
		name := fmt.Sprintf("eth%d", i)
		a.links(func(n *netlink.Handle) error {
			return n.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name, PeerNamespace: netlink.NsFd(b.file.Fd())})
		})
		for j, x := range []*host{a, b} {
			x.links(func(n *netlink.Handle) error {
				addresses := []string{fmt.Sprintf("10.99.%d.%d/24", i, j+1), fmt.Sprintf("fd99:%d::%d/64", i, j+1)}
				if j == 1 {
					addresses = append(addresses, fmt.Sprintf("10.99.%d.3/24", i))
				}
				for _, s := range addresses {
					if err := address(n, name, s); err != nil {
						return err
					}
				}
				return up(n, name)
			})
		}
	}
	for _, at := range []string{"10.99.0.2:7", "10.99.0.3:7", "10.99.1.2:7", "[fd99:0::2]:7"} {
		b.echo(at)
		await(t, func() bool { _, ok := a.ping(at, 100*time.Millisecond); return ok })
	}
	return a, b
}

// echo answers datagrams.
func (h *host) echo(at string) {
	h.t.Helper()
	h.in(func() error {
		c, err := net.ListenPacket("udp", at)
		if err != nil {
			return err
		}
		h.t.Cleanup(func() { c.Close() })
		go func() {
			b := make([]byte, 2048)
			for {
				n, from, err := c.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = c.WriteTo(b[:n], from)
			}
		}()
		return nil
	})
}

func (h *host) dial(at string) net.Conn {
	h.t.Helper()
	var c net.Conn
	h.in(func() (err error) {
		c, err = net.Dial("udp", at)
		return err
	})
	h.t.Cleanup(func() { c.Close() })
	return c
}

// ping says how long a datagram takes there and back, and whether it comes within d.
func (h *host) ping(at string, d time.Duration) (time.Duration, bool) {
	h.t.Helper()
	c := h.dial(at)
	defer c.Close()
	start := time.Now()
	_ = c.SetDeadline(start.Add(d))
	if _, err := c.Write([]byte("ping")); err != nil {
		return 0, false
	}
	b := make([]byte, 16)
	n, err := c.Read(b)
	return time.Since(start), err == nil && n == 4
}

// snapshot is queueing disciplines and filters, as an independent library sees them.
func (h *host) snapshot() string {
	h.t.Helper()
	var lines []string
	h.links(func(n *netlink.Handle) error {
		links, err := n.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			all, err := n.QdiscList(l)
			if err != nil {
				return err
			}
			for _, q := range all {
				a := *q.Attrs()
				a.Statistics, a.Refcnt = nil, 0
				*q.Attrs() = a
				filters, err := n.FilterList(l, a.Handle)
				if err != nil {
					return err
				}
				lines = append(lines, fmt.Sprintf("%s %s %+v with %d filters", l.Attrs().Name, q.Type(), q, len(filters)))
			}
		}
		return nil
	})
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func await(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); {
		if time.Now().After(end) {
			t.Fatal("not within 2 minutes")
		}
	}
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// spec orders a fault in the host's namespace.
func (h *host) spec(d time.Duration, p degrade.Params) inject.Spec {
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
	return inject.Spec{Kind: degrade.Kind, For: d, Params: b}
}

// degrade injects and returns a function that reverts.
func (h *host) degrade(p degrade.Params) (revert func() inject.Effect) {
	h.t.Helper()
	f := degrade.New()
	plan, err := f.Prepare(testContext(h.t), h.spec(10*time.Minute, p))
	if err != nil {
		h.t.Fatal(err)
	}
	plan.ID = "t"
	revert = func() inject.Effect {
		h.t.Helper()
		e, err := f.Revert(testContext(h.t), plan)
		if err != nil {
			h.t.Fatal(err)
		}
		return e
	}
	if _, err := f.Inject(testContext(h.t), plan); err != nil {
		revert()
		h.t.Fatal(err)
	}
	return revert
}
