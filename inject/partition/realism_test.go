package partition_test

import (
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject/partition"

	"golang.org/x/sys/unix"
)

// TestLooksLikeAPartition: for a UDP sender that asks for every error there is
// none, and TCP's retransmission timer backs off, an established connection stands
// still and goes on after the heal.
func TestLooksLikeAPartition(t *testing.T) {
	t.Parallel()
	for _, direction := range []string{"out", "in", "both", "out, forwarding"} {
		for _, v := range []struct{ name, addr, peer string }{{"IPv4", "10.99.0.2:0", "10.99.0.2"}, {"IPv6", "[fd99::2]:0", "fd99::2"}} {
			t.Run(direction+" "+v.name, func(t *testing.T) {
				t.Parallel()
				a, b := pair(t)
				a.ready6(b)
				f := partition.New()
				direction, ways := strings.CutSuffix(direction, ", forwarding")
				if ways {
					f = partition.NewForwarding()
				}
				u, c := a.dial("udp", echo(b, "udp", v.addr).addr), a.dial("tcp", echo(b, "tcp", v.addr).addr)
				for _, x := range []net.Conn{u, c} {
					if !roundTrip(x, hang) {
						t.Fatal("no answer before the cut")
					}
				}
				wantErrors(t, u)
				start := rto(t, c)
				e, heal := a.cut(f, "t", long, partition.Params{Peers: []string{v.peer}, Direction: direction})
				if e.Count != 1 {
					t.Errorf("inject: %+v", e)
				}
				if _, err := c.Write([]byte{1}); err != nil {
					t.Errorf("write to an established connection: %v", err)
				}
				// From 200 ms it doubles at 0.2, 0.6 and 1.4 s; a busy machine begins with more.
				begin, now := time.Now(), start
				for ; time.Since(begin) < 1500*time.Millisecond || (now < 4*start || now < 800*time.Millisecond) && time.Since(begin) < hang; time.Sleep(10 * time.Millisecond) {
					now = rto(t, c)
					if _, err := u.Write([]byte("ping")); err != nil {
						t.Fatalf("UDP sender: %v", err)
					}
					if n := sockError(t, u); n != 0 {
						t.Fatalf("UDP sender has an error pending: %v", n)
					}
				}
				if now < 4*start || now < 800*time.Millisecond {
					t.Errorf("TCP does not back off: RTO was %v and is %v after %v", start, now, time.Since(begin))
				}
				if n := sockError(t, c); n != 0 {
					t.Errorf("TCP connection: %v", n)
				}
				_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
				if n, _ := c.Read(make([]byte, 1)); n > 0 {
					t.Error("the connection was not cut")
				}
				e = heal()
				if e.Count < 3 {
					t.Errorf("dropped: %+v", e)
				}
				_ = c.SetReadDeadline(time.Now().Add(hang))
				if _, err := c.Read(make([]byte, 1)); err != nil {
					t.Errorf("the connection does not go on after the heal: %v", err)
				}
				t.Logf("RTO %v, then %v; %s", start, now, e.Seen)
			})
		}
	}
}

// wantErrors has the socket report what happened to its packets on their way.
func wantErrors(t *testing.T, c net.Conn) {
	t.Helper()
	control(t, c, func(fd int) error {
		if c.RemoteAddr().(*net.UDPAddr).IP.To4() == nil {
			return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
		}
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
	})
}

func sockError(t *testing.T, c net.Conn) syscall.Errno {
	t.Helper()
	var n int
	control(t, c, func(fd int) (err error) {
		n, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		return err
	})
	return syscall.Errno(n)
}

func rto(t *testing.T, c net.Conn) time.Duration {
	t.Helper()
	var d time.Duration
	control(t, c, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			d = time.Duration(info.Rto) * time.Microsecond
		}
		return err
	})
	return d
}

func control(t *testing.T, c net.Conn, f func(fd int) error) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil || inner != nil {
		t.Fatal(err, inner)
	}
}
