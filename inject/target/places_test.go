package target_test

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/conformance"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target"

	"golang.org/x/sys/unix"
)

func TestByPIDFile(t *testing.T) {
	pid := run(t, "sleep", "1000")
	file := filepath.Join(t.TempDir(), "x.pid")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := target.Selector{PIDFile: file}
	refused(t, s, os.ErrNotExist)
	write(strconv.Itoa(pid) + "\n")
	want(t, s, pid)
	write(" " + strconv.Itoa(pid) + "\n/var/lib/postgresql\n1763888888\n") // as PostgreSQL writes it
	want(t, s, pid)
	write("4194303")
	refused(t, s, inject.ErrGone, "process 4194303")

	write(strconv.Itoa(pid))
	before := time.Now().Add(-time.Hour)
	if err := os.Chtimes(file, before, before); err != nil {
		t.Fatal(err)
	}
	refused(t, s, inject.ErrRefused, "left over")
	write(strconv.Itoa(pid))
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	refused(t, s, inject.ErrRefused, "others than its owner can write it")
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 { // anybody's file must not steer what root does to others
		if err := os.Chown(file, 12345, -1); err != nil {
			t.Fatal(err)
		}
		refused(t, s, inject.ErrRefused, "belongs to uid 12345")
		if err := os.Chown(file, 0, -1); err != nil {
			t.Fatal(err)
		}
	}
	for _, garbage := range []string{"", "x\n", "-7\n", "0", "7 8\n"} {
		write(garbage)
		if got, err := target.Resolve(ctx(t), s); err == nil {
			t.Errorf("pid file %q: %+v", garbage, got)
		}
	}
	if err := unix.Mkfifo(file+".fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, target.Selector{PIDFile: file + ".fifo"}, inject.ErrRefused, "not a regular file")
}

// listen opens a port, has a child inherit it and returns the child, which is then
// the only one who has it.
func listen(t *testing.T, network string) (port, pid int) {
	t.Helper()
	var f *os.File
	port = conformance.Port(t)
	addr := "127.0.0.1:" + strconv.Itoa(port)
	switch network {
	case "tcp":
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if f, err = l.(*net.TCPListener).File(); err != nil {
			t.Fatal(err)
		}
	default:
		l, err := net.ListenPacket("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if f, err = l.(*net.UDPConn).File(); err != nil {
			t.Fatal(err)
		}
	}
	defer f.Close()
	return port, runWith(t, f)
}

func TestByPort(t *testing.T) {
	for _, network := range []string{"tcp", "udp"} {
		port, pid := listen(t, network)
		want(t, target.Selector{Port: port, Proto: network}, pid)
		want(t, target.Selector{Port: port}, pid)
		other := map[string]string{"tcp": "udp", "udp": "tcp"}[network]
		refused(t, target.Selector{Port: port, Proto: other}, target.ErrNone, "nobody listens there")
		want(t, target.Selector{Port: port, Netns: "/proc/" + strconv.Itoa(pid) + "/ns/net"}, pid)
	}
	refused(t, target.Selector{Port: 1, Netns: "/proc/self/status"}, inject.ErrRefused, "network namespace")
	refused(t, target.Selector{Port: 1, Netns: "/no/such"}, os.ErrNotExist)
}

// TestPortElsewhere: the same port means another process in another namespace.
func TestPortElsewhere(t *testing.T) {
	port, pid := listen(t, "tcp")
	type found struct {
		pid  int
		path string
		err  error
	}
	there := make(chan found)
	done := make(chan struct{})
	defer close(done)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends in its namespace
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			there <- found{err: err}
			return
		}
		l, err := listenIn(port)
		if err != nil {
			there <- found{err: err}
			return
		}
		defer l.Close()
		there <- found{runWith(t, l), "/proc/self/task/" + strconv.Itoa(unix.Gettid()) + "/ns/net", nil}
		<-done
	}()
	f := <-there
	if f.err != nil {
		t.Fatal(f.err)
	}
	want(t, target.Selector{Port: port}, pid)
	// The test itself holds the socket too, and is its child's parent.
	refused(t, target.Selector{Port: port, Netns: f.path}, inject.ErrRefused, "2 processes fit", "process "+strconv.Itoa(f.pid)+" (sleep)")
}

// listenIn listens on the port by raw system calls, on this thread.
func listenIn(port int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "listener")
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port}); err != nil {
		return nil, err
	}
	return f, unix.Listen(fd, 1)
}
