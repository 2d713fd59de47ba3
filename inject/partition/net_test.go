package partition_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
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

func onThread(t *testing.T, f func() error) {
	t.Helper()
	if err := try(f); err != nil {
		t.Fatal(err)
	}
}

// try runs f on a thread that ends with it.
func try(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			done <- try(f)
			return
		}
		done <- f()
	}()
	return <-done
}

func newHost(t *testing.T) *host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root, or under unshare -rn")
	}
	h := &host{t: t}
	onThread(t, func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		if h.file, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		h.cmd = exec.Command("sleep", "1000")
		return h.cmd.Start()
	})
	t.Cleanup(h.remove)
	h.links(func(n *netlink.Handle) error {
		lo, err := n.LinkByName("lo")
		if err != nil {
			return err
		}
		return n.LinkSetUp(lo)
	})
	return h
}

// remove ends the namespace; safe to call twice.
func (h *host) remove() {
	_ = h.cmd.Process.Kill()
	_ = h.cmd.Wait()
	h.file.Close()
}

func (h *host) pid() int { return h.cmd.Process.Pid }

// in runs f in the namespace; sockets that it opens stay there.
func (h *host) in(f func() error) {
	h.t.Helper()
	if err := h.tryIn(f); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) tryIn(f func() error) error {
	return try(func() error {
		if err := unix.Setns(int(h.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

func (h *host) links(f func(*netlink.Handle) error) {
	h.t.Helper()
	n, err := netlink.NewHandleAt(netns.NsHandle(h.file.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		h.t.Fatal(err)
	}
	defer n.Close()
	if err := f(n); err != nil {
		h.t.Fatal(err)
	}
}

// pair is two hosts with a cable: 10.99.0.1 and .2, fd99::1 and ::2.
func pair(t *testing.T) (a, b *host) {
	t.Helper()
	a, b = newHost(t), newHost(t)
	cable(a, b, "eth0", 0)
	for _, h := range []*host{a, b} {
		h.settled()
	}
	return a, b
}

// settled waits until the kernel has made the routes of a new interface, those of IPv6 too:
// what a fault leaves behind is told by comparing.
func (h *host) settled() {
	h.t.Helper()
	await(h.t, func() bool { return strings.Contains(h.snapshot(), "Dst: fe80::/64") })
}

// cable connects two hosts in the network 10.99.n.0/24 and fd99:0:0:n::/64.
func cable(a, b *host, name string, n int) {
	a.t.Helper()
	plug(a, b, name, n)
	a.ready(b, n)
}

// plug is cable without waiting for it.
func plug(a, b *host, name string, n int) {
	a.t.Helper()
	a.links(func(h *netlink.Handle) error {
		return h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name, PeerNamespace: netlink.NsFd(b.file.Fd())})
	})
	for i, x := range []*host{a, b} {
		x.links(func(h *netlink.Handle) error {
			l, err := h.LinkByName(name)
			if err != nil {
				return err
			}
			for _, s := range []string{fmt.Sprintf("10.99.%d.%d/24", n, i+1), fmt.Sprintf("fd99:0:0:%d::%d/64", n, i+1)} {
				addr, err := netlink.ParseAddr(s)
				if err != nil {
					return err
				}
				addr.Flags = unix.IFA_F_NODAD
				if err := h.AddrAdd(l, addr); err != nil {
					return err
				}
			}
			return h.LinkSetUp(l)
		})
	}
}

// set takes an interface up or down.
func (h *host) set(name string, up bool) {
	h.t.Helper()
	h.links(func(n *netlink.Handle) error {
		l, err := n.LinkByName(name)
		if err != nil {
			return err
		}
		if up {
			return n.LinkSetUp(l)
		}
		return n.LinkSetDown(l)
	})
}

// ready waits until packets go both ways.
func (h *host) ready(b *host, n int) {
	h.t.Helper()
	e := echo(b, "udp", fmt.Sprintf("10.99.%d.2:0", n))
	await(h.t, func() bool { return h.ping(e.addr, 50*time.Millisecond) })
}

// ready6 is ready for IPv6, which starts on an interface up to a second later.
func (h *host) ready6(b *host) {
	h.t.Helper()
	e := echo(b, "udp", "[fd99::2]:0")
	await(h.t, func() bool { return h.ping(e.addr, 50*time.Millisecond) })
}

// echoServer answers datagrams or bytes.
type echoServer struct{ addr string }

func echo(h *host, network, addr string) echoServer {
	h.t.Helper()
	var e echoServer
	h.in(func() error {
		if network == "udp" {
			c, err := net.ListenPacket("udp", addr)
			if err != nil {
				return err
			}
			h.t.Cleanup(func() { c.Close() })
			e.addr = c.LocalAddr().String()
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
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		h.t.Cleanup(func() { l.Close() })
		e.addr = l.Addr().String()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				h.t.Cleanup(func() { c.Close() })
				go func() {
					b := make([]byte, 2048)
					for {
						n, err := c.Read(b)
						if err != nil {
							return
						}
						if _, err := c.Write(b[:n]); err != nil {
							return
						}
					}
				}()
			}
		}()
		return nil
	})
	return e
}

func (h *host) dial(network, addr string) net.Conn {
	h.t.Helper()
	var c net.Conn
	h.in(func() (err error) {
		c, err = net.DialTimeout(network, addr, hang)
		return err
	})
	h.t.Cleanup(func() { c.Close() })
	return c
}

// ping says whether a datagram comes back within d.
func (h *host) ping(addr string, d time.Duration) bool {
	var c net.Conn
	if err := h.tryIn(func() (err error) { c, err = net.Dial("udp", addr); return err }); err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(d))
	if _, err := c.Write([]byte("ping")); err != nil {
		return false
	}
	b := make([]byte, 16)
	n, err := c.Read(b)
	return err == nil && n == 4
}

// snapshot is tables, chains, sets and their elements, rules, links, addresses
// and routes, as independent libraries see them.
func (h *host) snapshot() string {
	h.t.Helper()
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	c, err := nftables.New(nftables.WithNetNSFd(int(h.file.Fd())), nftables.AsLasting())
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = c.CloseLasting() }()
	tables, err := c.ListTables()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, t := range tables {
		add("table %d %s", t.Family, t.Name)
		sets, err := c.GetSets(t)
		if err != nil {
			continue // a table that is on its way out
		}
		for _, s := range sets {
			elements, _ := c.GetSetElements(s)
			add("set %s %s %d", t.Name, s.Name, len(elements))
		}
	}
	chains, err := c.ListChains()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, ch := range chains {
		rules, _ := c.GetRules(ch.Table, ch)
		add("chain %s %s %d", ch.Table.Name, ch.Name, len(rules))
	}
	h.links(func(n *netlink.Handle) error {
		links, err := n.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			add("link %d %s %v", l.Attrs().Index, l.Attrs().Name, l.Attrs().Flags)
		}
		routes, err := n.RouteList(nil, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, r := range routes {
			add("route %v", r)
		}
		return nil
	})
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// hang is after what something that was waited for does not happen any more; long is
// the deadline of what must not end before.
const (
	hang = 2 * time.Minute
	long = 10 * time.Minute
)

func await(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(hang); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v", hang)
		}
	}
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	t.Cleanup(cancel)
	return ctx
}

// spec orders a partition in the host's namespace.
func (h *host) spec(d time.Duration, p partition.Params) inject.Spec {
	s, err := inject.ReadStat(h.pid())
	if err != nil {
		h.t.Fatal(err)
	}
	p.Netns.Of = target.Selector{PID: h.pid(), StartTime: s.StartTime}
	b, err := json.Marshal(p)
	if err != nil {
		h.t.Fatal(err)
	}
	return inject.Spec{Kind: partition.Kind, For: d, Params: b}
}

// cut injects and returns a function that heals.
func (h *host) cut(f inject.Fault, id string, d time.Duration, p partition.Params) (inject.Effect, func() inject.Effect) {
	h.t.Helper()
	plan, err := f.Prepare(testContext(h.t), h.spec(d, p))
	if err != nil {
		h.t.Fatal(err)
	}
	plan.ID = id
	heal := func() inject.Effect {
		h.t.Helper()
		e, err := f.Revert(testContext(h.t), plan)
		if err != nil {
			h.t.Fatal(err)
		}
		return e
	}
	e, err := f.Inject(testContext(h.t), plan)
	if err != nil {
		heal()
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _, _ = f.Revert(context.Background(), plan) })
	return e, heal
}

func isErrno(err error, n syscall.Errno) bool {
	return err != nil && strings.Contains(err.Error(), n.Error())
}
