package hold_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/hold"
	"github.com/lockaudit/lockaudit/inject/injecttest"
	"github.com/lockaudit/lockaudit/inject/partition"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	injecttest.Main(m, func() inject.Fault { return hold.New() })
}

func TestConformance(t *testing.T) {
	injecttest.Run(t, injecttest.Subject{New: func() inject.Fault { return hold.New() }, Target: func(t *testing.T) injecttest.Target {
		a, b := pair(t)
		return injecttest.Target{
			Params:   a.spec(10*time.Minute, partition.Params{Peers: []string{"10.99.0.2"}}).Params,
			Snapshot: a.snapshot, Remove: func() { a.remove(); b.remove() },
		}
	}, KernelUndoes: true})
}

func TestSupport(t *testing.T) {
	if ok, why := hold.New().Support(); !ok || strings.Contains(why, "direction") {
		t.Errorf("support: %v, %q", ok, why)
	}
}

// arrival is what a receiver got, and when.
type arrival struct {
	data string
	at   time.Time
}

// listen receives from every connection to it.
func listen(h *host) (addr string, got chan arrival) {
	h.t.Helper()
	got = make(chan arrival, 100)
	h.in(func() error {
		l, err := net.Listen("tcp", "10.99.0.2:0")
		if err != nil {
			return err
		}
		h.t.Cleanup(func() { l.Close() })
		addr = l.Addr().String()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				h.t.Cleanup(func() { c.Close() })
				go func() {
					b := make([]byte, 1<<16)
					for {
						n, err := c.Read(b)
						if n > 0 {
							got <- arrival{string(b[:n]), time.Now()}
						}
						if err != nil {
							return
						}
					}
				}()
			}
		}()
		return nil
	})
	return addr, got
}

func next(t *testing.T, got chan arrival) arrival {
	t.Helper()
	select {
	case a := <-got:
		return a
	case <-time.After(2 * time.Minute):
		t.Fatal("nothing arrives")
		return arrival{}
	}
}

// TestWriteInFlight: what a TCP connection sends while it is held arrives after the
// release, though it would not have been sent again for longer; nothing of it is
// lost or seen before; the sender hears of nothing.
func TestWriteInFlight(t *testing.T) {
	a, b := pair(t)
	addr, got := listen(b)
	c := a.dial("tcp", addr)
	say(t, c, "before")
	if x := next(t, got); x.data != "before" {
		t.Fatalf("%+v", x)
	}
	_, heal := a.hold(hold.New(), "t", 10*time.Minute, partition.Params{Peers: []string{"10.99.0.2"}})
	large := strings.Repeat("late", 5000) // more than a segment
	say(t, c, large)
	// Long enough for TCP to have sent again twice, and to wait for a third time.
	deadline := time.Now().Add(1700 * time.Millisecond)
	for time.Now().Before(deadline) {
		select {
		case x := <-got:
			t.Fatalf("%d bytes arrived while held", len(x.data))
		case <-time.After(10 * time.Millisecond):
		}
	}
	if n := sockError(t, c); n != 0 {
		t.Errorf("the sender has an error pending: %v", n)
	}
	e := heal()
	if !strings.Contains(e.Seen, "kept back; ") || strings.Contains(e.Seen, " 0 let go") {
		t.Errorf("revert: %+v", e)
	}
	for arrived := 0; arrived < len(large); {
		arrived += len(next(t, got).data)
	}
	say(t, c, "after")
	if x := next(t, got); x.data != "after" {
		t.Errorf("%+v", x)
	}
	if n := retransmitted(t, c); n > 1 {
		t.Errorf("TCP has sent %d segments again: it thinks that they were lost", n)
	}
}

// TestNewConnection: a connection that is opened while held comes about after it.
func TestNewConnection(t *testing.T) {
	a, b := pair(t)
	addr, got := listen(b)
	_, heal := a.hold(hold.New(), "t", 10*time.Minute, partition.Params{Peers: []string{"10.99.0.2"}})
	done := make(chan error, 1)
	go func() {
		done <- a.tryIn(func() error {
			c, err := net.DialTimeout("tcp", addr, 2*time.Minute)
			if err == nil {
				_, err = io.WriteString(c, "hello")
				a.t.Cleanup(func() { c.Close() })
			}
			return err
		})
	}()
	select {
	case err := <-done:
		t.Fatalf("connected while held: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	heal()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if x := next(t, got); x.data != "hello" {
		t.Errorf("%+v", x)
	}
}

// TestOrder: datagrams arrive in the order in which they were sent, all of them.
func TestOrder(t *testing.T) {
	a, b := pair(t)
	var r net.PacketConn
	b.in(func() (err error) { r, err = net.ListenPacket("udp", "10.99.0.2:0"); return err })
	defer r.Close()
	c := a.dial("udp", r.LocalAddr().String())
	_, heal := a.hold(hold.New(), "t", 10*time.Minute, partition.Params{Peers: []string{"10.99.0.2"}, Proto: "udp"})
	const n = 200
	for i := range n {
		say(t, c, fmt.Sprint(i))
	}
	heal()
	buf := make([]byte, 16)
	for i := range n {
		_ = r.SetReadDeadline(time.Now().Add(2 * time.Minute))
		k, _, err := r.ReadFrom(buf)
		if err != nil || string(buf[:k]) != fmt.Sprint(i) {
			t.Fatalf("datagram %d: %q, %v", i, buf[:k], err)
		}
	}
}

// TestKilledHolder: when the guard dies what it kept is gone, and TCP sends it again.
func TestKilledHolder(t *testing.T) {
	a, b := pair(t)
	addr, got := listen(b)
	c := a.dial("tcp", addr)
	p, err := hold.New().Prepare(testContext(t), a.spec(10*time.Minute, partition.Params{Peers: []string{"10.99.0.2"}}))
	if err != nil {
		t.Fatal(err)
	}
	p.ID = "t"
	holder := a.holder(p)
	say(t, c, "kept")
	select {
	case x := <-got:
		t.Fatalf("%+v arrived while held", x)
	case <-time.After(300 * time.Millisecond):
	}
	_ = holder.Process.Signal(syscall.SIGKILL)
	if x := next(t, got); x.data != "kept" {
		t.Errorf("%+v", x)
	}
}

// TestStoppedHolder: what is new passes after the deadline though nobody acts; what
// was kept waits until the stopped guard is killed, as the dead man's switch does.
func TestStoppedHolder(t *testing.T) {
	a, b := pair(t)
	addr, got := listen(b)
	c := a.dial("tcp", addr)
	p, err := hold.New().Prepare(testContext(t), a.spec(time.Second, partition.Params{Peers: []string{"10.99.0.2"}}))
	if err != nil {
		t.Fatal(err)
	}
	p.ID = "t"
	holder := a.holder(p)
	if err := holder.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	say(t, c, "kept")
	for end := time.Now().Add(2 * time.Minute); a.tryIn(func() error {
		d, err := net.DialTimeout("tcp", addr, 100*time.Millisecond)
		if err == nil {
			d.Close()
		}
		return err
	}) != nil; {
		if time.Now().After(end) {
			t.Fatal("nothing passes after the deadline")
		}
	}
	if len(got) > 0 {
		t.Errorf("%+v arrived although its keeper is stopped", <-got)
	}
	_ = holder.Process.Signal(syscall.SIGKILL)
	if x := next(t, got); x.data != "kept" {
		t.Errorf("%+v", x)
	}
}

func TestBadOrders(t *testing.T) {
	a, _ := pair(t)
	for name, p := range map[string]partition.Params{
		"direction in": {Peers: []string{"10.99.0.2"}, Direction: "in"},
		"both":         {Peers: []string{"10.99.0.2"}, Direction: "both"},
		"flapping":     {Peers: []string{"10.99.0.2"}, Period: time.Second, Duty: 50},
		"no peers":     {},
	} {
		if _, err := hold.New().Prepare(testContext(t), a.spec(time.Minute, p)); err == nil {
			t.Errorf("%s: prepare accepted it", name)
		}
	}
}

// TestReaderIsNamed: the queue has a reader while it is held, and none after.
func TestReaderIsNamed(t *testing.T) {
	a, _ := pair(t)
	queues := func() string {
		var b []byte
		a.in(func() (err error) {
			b, err = os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
			return err
		})
		return strings.TrimSpace(string(b))
	}
	_, heal := a.hold(hold.New(), "t", 10*time.Minute, partition.Params{Peers: []string{"10.99.0.2"}})
	if queues() == "" {
		t.Error("no queue is read while it is held")
	}
	heal()
	for end := time.Now().Add(2 * time.Minute); queues() != ""; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after the heal: %s", queues())
		}
	}
}

func say(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatalf("write: %v", err)
	}
}

func retransmitted(t *testing.T, c net.Conn) (n uint32) {
	t.Helper()
	control(t, c, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			n = info.Total_retrans
		}
		return err
	})
	return n
}

func sockError(t *testing.T, c net.Conn) (n int) {
	t.Helper()
	control(t, c, func(fd int) (err error) {
		n, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		return err
	})
	return n
}

func control(t *testing.T, c net.Conn, f func(fd int) error) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	var inner error
	if err == nil {
		err = raw.Control(func(fd uintptr) { inner = f(int(fd)) })
	}
	if err := errors.Join(err, inner); err != nil {
		t.Fatal(err)
	}
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}
