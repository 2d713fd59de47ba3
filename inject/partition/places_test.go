package partition_test

import (
	"os"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/partition"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestTun: an interface without link headers is cut too, in both ways in which what
// leaves can vanish. We are the wire.
func TestTun(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]*partition.Fault{"queue": partition.New(), "forward": partition.NewForwarding()} {
		t.Run(name, func(t *testing.T) {
			a, _ := pair(t)
			wire := a.tun("tun0", "10.77.0.1/24")
			c := a.dial("udp", "10.77.0.2:9")
			sent := func() bool { // a datagram to 10.77.0.2 is on the wire
				if _, err := c.Write([]byte("over the tunnel")); err != nil {
					t.Fatal(err)
				}
				b := make([]byte, 2048)
				for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); {
					_ = wire.SetReadDeadline(end)
					if n, err := wire.Read(b); err == nil && strings.HasSuffix(string(b[:n]), "over the tunnel") {
						return true
					}
				}
				return false
			}
			await(t, sent)
			_, heal := a.cut(f, "t", long, partition.Params{Peers: []string{"10.77.0.2"}, Direction: "out"})
			if sent() || sockError(t, c) != 0 {
				t.Error("not cut, or the sender has heard of it")
			}
			if e := heal(); e.Count == 0 {
				t.Errorf("revert: %+v", e)
			}
			await(t, sent)
		})
	}
}

// tun makes a tunnel interface whose other end is the file.
func (h *host) tun(name, address string) *os.File {
	h.t.Helper()
	var f *os.File
	h.in(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		var req struct { // struct ifreq
			name  [16]byte
			flags uint16
			_     [22]byte
		}
		copy(req.name[:], name)
		req.flags = unix.IFF_TUN | unix.IFF_NO_PI
		if _, _, n := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(&req))); n != 0 {
			return n
		}
		f = os.NewFile(uintptr(fd), name)
		return nil
	})
	h.t.Cleanup(func() { f.Close() })
	h.links(func(n *netlink.Handle) error {
		l, err := n.LinkByName(name)
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr(address)
		if err == nil {
			err = n.AddrAdd(l, addr)
		}
		if err != nil {
			return err
		}
		return n.LinkSetUp(l)
	})
	return f
}

// TestForwarded: what the namespace forwards for another behind it is cut in the
// direction out.
func TestForwarded(t *testing.T) {
	t.Parallel()
	inner, a, b := newHost(t), newHost(t), newHost(t)
	cable(inner, a, "eth5", 5)
	cable(a, b, "eth0", 0)
	a.in(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) })
	inner.route("10.99.0.0/24", "10.99.5.2")
	b.route("10.99.5.0/24", "10.99.0.1")
	e := echo(b, "udp", "10.99.0.2:0")
	await(t, func() bool { return inner.ping(e.addr, 100*time.Millisecond) })
	_, heal := a.cut(partition.New(), "t", long, partition.Params{Peers: []string{"10.99.0.2"}, Direction: "out"})
	if inner.ping(e.addr, 200*time.Millisecond) {
		t.Error("what is forwarded is not cut")
	}
	heal()
	await(t, func() bool { return inner.ping(e.addr, 100*time.Millisecond) })
}

func (h *host) route(network, via string) {
	h.t.Helper()
	h.links(func(n *netlink.Handle) error {
		dst, err := netlink.ParseIPNet(network)
		if err != nil {
			return err
		}
		gw, err := netlink.ParseAddr(via + "/32")
		if err != nil {
			return err
		}
		return n.RouteAdd(&netlink.Route{Dst: dst, Gw: gw.IP})
	})
}

// TestMarkStays: a packet that is not dropped is as it was, though another rule
// than ours looks at its mark.
func TestMarkStays(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	e := echo(b, "udp", "10.99.0.2:0")
	c := a.dial("udp", e.addr)
	control(t, c, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, 0x4711) })
	marked := a.countMarked(0x4711)
	_, heal := a.cut(partition.New(), "t", long, partition.Params{Peers: []string{"10.99.0.3"}})
	defer heal()
	if before := marked(); !roundTrip(c, hang) || marked() <= before {
		t.Error("a packet that is not cut has lost its mark")
	}
}

// TestWithoutNetfilterSocket: a sandbox that refuses such sockets, as the kernel
// without the module does, is a reason and not a failure.
func TestWithoutNetfilterSocket(t *testing.T) {
	t.Parallel()
	for _, n := range []unix.Errno{unix.EPROTONOSUPPORT, unix.EPERM} {
		a, _ := pair(t)
		before := a.snapshot()
		a.in(func() error { // the thread and its filter end with this
			if err := refuseNetfilter(n); err != nil {
				return err
			}
			f := partition.New()
			if ok, why := f.Support(); ok || !strings.Contains(why, "netfilter socket") {
				t.Errorf("%v: support: %v, %q", n, ok, why)
			}
			s := a.spec(long, partition.Params{Peers: []string{"10.99.0.2"}})
			s.Params = []byte(`{"peers":["10.99.0.2"]}`)
			if _, err := f.Prepare(testContext(t), s); !isUnsupported(err) {
				t.Errorf("%v: prepare: %v, want %v", n, err, inject.ErrUnsupported)
			}
			return nil
		})
		if now := a.snapshot(); now != before {
			t.Errorf("after it:\n%s\nbefore:\n%s", now, before)
		}
	}
}

// refuseNetfilter has socket(AF_NETLINK, …, NETLINK_NETFILTER) fail on this thread.
func refuseNetfilter(n unix.Errno) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	equal := func(v uint32, no uint8) unix.SockFilter { // or jump over so many
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: v, Jf: no}
	}
	ret := func(v uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: v} }
	// struct seccomp_data: nr, arch, instruction pointer, args at 16.
	prog := []unix.SockFilter{
		load(0), equal(unix.SYS_SOCKET, 5), load(16), equal(unix.AF_NETLINK, 3), load(32), equal(unix.NETLINK_NETFILTER, 1),
		ret(unix.SECCOMP_RET_ERRNO | uint32(n)), ret(unix.SECCOMP_RET_ALLOW),
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	_, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&fprog)))
	if e != 0 {
		return e
	}
	return nil
}
