package target_test

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target"
)

// TestBySocket: whose connection it is, and what of it nobody has acknowledged.
func TestBySocket(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			accepted <- c
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	file, err := c.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	local := c.LocalAddr().String()
	// A child of a shell has it, and this test no more.
	cmd := exec.Command("sh", "-c", "sleep 1000 & wait")
	cmd.ExtraFiles = []*os.File{file}
	pid := start(t, cmd)
	file.Close()
	c.Close()
	peer := <-accepted
	defer peer.Close()

	want(t, target.Selector{Socket: local}, pid)
	want(t, target.Selector{Socket: "[::ffff:" + strings.Replace(local, ":", "]:", 1)}, pid)
	refused(t, target.Selector{Socket: "127.0.0.1:1"}, target.ErrNone, "no such connection")
	for _, bad := range []string{"x", "127.0.0.1", "host:1"} {
		if err := (target.Selector{Socket: bad}).Validate(); err == nil {
			t.Errorf("socket %q is accepted", bad)
		}
	}
	stat, err := inject.ReadStat(pid)
	if err != nil {
		t.Fatal(err)
	}
	process := inject.Process{PID: pid, StartTime: stat.StartTime}
	find := func() (f target.Flow) {
		t.Helper()
		flows, err := target.Flows(ctx(t), process)
		if err != nil || len(flows) != 1 {
			t.Fatalf("%+v, %v", flows, err)
		}
		return flows[0]
	}
	f := find()
	if f.Local != netip.MustParseAddrPort(local) || f.Peer != netip.MustParseAddrPort(l.Addr().String()) || f.Opening || f.Queued != 0 {
		t.Errorf("%+v", f)
	}
	process.StartTime++
	if flows, err := target.Flows(ctx(t), process); err == nil {
		t.Errorf("of a process that is another one by now: %+v", flows)
	}
}

// TestFlowsQueued: bytes that nobody takes.
func TestFlowsQueued(t *testing.T) {
	stat, err := inject.ReadStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	me := inject.Process{PID: os.Getpid(), StartTime: stat.StartTime}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String()) // nobody reads at the other end
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		b := make([]byte, 1<<20)
		for {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	}()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		flows, err := target.Flows(ctx(t), me)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range flows {
			if f.Local.String() == c.LocalAddr().String() && f.Queued > 0 {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatalf("nothing is queued: %+v", flows)
		}
	}
}
