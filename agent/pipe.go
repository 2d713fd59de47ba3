package agent

import (
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// polled reads a pipe, which Go inherits in blocking mode, by way of the runtime's
// poller: a read that blocks keeps its thread, and what it has read waits for another
// one to wake up. The pipe is opened anew, because a mode belongs to all who share
// the old descriptor, such as a shell. What is no pipe, or cannot be opened, is read
// as it is.
func polled(r io.Reader) io.Reader {
	f, ok := r.(*os.File)
	if !ok {
		return r
	}
	if st, err := f.Stat(); err != nil || st.Mode()&os.ModeNamedPipe == 0 {
		return r
	}
	c, err := f.SyscallConn()
	if err != nil {
		return r
	}
	fd := -1
	_ = c.Control(func(old uintptr) {
		if mode, err := unix.FcntlInt(old, unix.F_GETFL, 0); err == nil && mode&unix.O_NONBLOCK == 0 {
			fd, _ = unix.Open("/proc/self/fd/"+strconv.Itoa(int(old)), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		}
	})
	if fd < 0 {
		return r
	}
	return os.NewFile(uintptr(fd), f.Name())
}

// writeNow returns a function that writes to w as much as can be without waiting, and
// says how many bytes that was: none unless w is a file in non-blocking mode. An error
// is left to the next write that waits.
func writeNow(w io.Writer) func([]byte) int {
	nothing := func([]byte) int { return 0 }
	f, ok := w.(*os.File)
	if !ok {
		return nothing
	}
	c, err := f.SyscallConn()
	if err != nil {
		return nothing
	}
	mode := 0
	_ = c.Control(func(fd uintptr) { mode, _ = unix.FcntlInt(fd, unix.F_GETFL, 0) })
	if mode&unix.O_NONBLOCK == 0 {
		return nothing
	}
	return func(b []byte) int {
		n := 0
		_ = c.Write(func(fd uintptr) bool { // called once: it never asks to wait
			n, _ = unix.Write(int(fd), b)
			return true
		})
		return max(n, 0)
	}
}
