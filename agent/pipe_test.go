package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWriterNeverWaits: what a peer does not read is queued, in order and whole.
func TestWriterNeverWaits(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	l := newLineWriter(w)
	const lines = 300 // more than a pipe takes, and none ends with its buffer
	long := bytes.Repeat([]byte("x"), 1777)
	for i := range lines {
		if err := l.send(fmt.Sprintf("%d %s", i, long)); err != nil {
			t.Fatal(err)
		}
	}
	l.close()
	go func() {
		<-l.done
		_ = w.Close()
	}()
	n := 0
	err = readLines(r, func(line []byte) error {
		var got string
		err := json.Unmarshal(line, &got)
		if want := fmt.Sprintf("%d %s", n, long); got != want {
			t.Errorf("line %d: %.20q, want %.20q", n, got, want)
		}
		n++
		return err
	})
	if err != nil || n != lines {
		t.Errorf("%d lines, %v", n, err)
	}
}

// TestWriterOfAClosedPipe: the error reaches whoever sends next.
func TestWriterOfAClosedPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	l := newLineWriter(w)
	_ = r.Close()
	_ = l.send("x")
	<-l.done
	if err := l.send("y"); err == nil {
		t.Error("no error")
	}
}

// TestPolled: a pipe in blocking mode is read by the poller, and stays in that mode for
// whoever shares it.
func TestPolled(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fd := r.Fd() // makes it blocking, as an inherited one is
	p, ok := polled(r).(*os.File)
	if !ok || p == r {
		t.Fatalf("%v is read as it is", r)
	}
	defer p.Close()
	for file, nonblocking := range map[uintptr]bool{fd: false, rawFD(t, p): true} {
		if mode, err := unix.FcntlInt(file, unix.F_GETFL, 0); err != nil || (mode&unix.O_NONBLOCK != 0) != nonblocking {
			t.Errorf("mode %#x, %v", mode, err)
		}
	}
	go func() {
		_, _ = w.WriteString("hello\n")
		_ = w.Close()
	}()
	s := bufio.NewScanner(p)
	if !s.Scan() || s.Text() != "hello" || s.Scan() || s.Err() != nil {
		t.Errorf("%q, %v", s.Text(), s.Err())
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, as := range []*os.File{null, p} {
		if got := polled(as); got != as {
			t.Errorf("%s is opened anew", as.Name())
		}
	}
}

func rawFD(t *testing.T, f *os.File) (fd uintptr) {
	t.Helper()
	c, err := f.SyscallConn()
	if err == nil {
		err = c.Control(func(n uintptr) { fd = n })
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd
}
