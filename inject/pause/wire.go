package pause

import (
	"fmt"
	"strconv"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// signalled is one process with the handles that keep it stopped.
type signalled struct {
	inject.Process
	pidfd    int
	stat     inject.StatFile
	r, w, r2 int // the pipe; r2 is a second read end
	// ordered: it has been sent SIGSTOP and no SIGCONT yet. others: somebody else
	// has stopped it.
	ordered, others bool
}

// wire ties the process to a pipe, so that the kernel resumes it when this
// process dies, however it dies: a read end has O_ASYNC with the target as its
// owner and SIGCONT as its signal, and the kernel sends that when the last write
// end closes. Nobody else may hold the write end, or killing this process would
// not be enough.
//
// A dying process releases its files in an order that the kernel does not promise
// (today the highest number first), and a read end that is released before the
// write end sends nothing. So the pipe is opened for reading twice, below and
// above the write end: in either order one of the two is still there. (Two
// numbers for one open file would not do: the last of them counts.)
//
// One that is stopped already is refused: what others have stopped is theirs.
//
// The owner is kept by the kernel as a process and not as a number, so a later
// process with the same pid never gets the signal.
func wire(p inject.Process) (*signalled, error) {
	fail := func(what string, err error) (*signalled, error) {
		return nil, fmt.Errorf("wire process %d: %s: %w", p.PID, what, err)
	}
	fd, file, stat, err := p.OpenStat()
	if err != nil {
		return nil, err
	}
	t := &signalled{Process: p, pidfd: fd, stat: file, r: -1, w: -1, r2: -1}
	if stat.Stopped() {
		t.close()
		return nil, fmt.Errorf("process %d (%s) is stopped already: %w", p.PID, stat.Comm, inject.ErrRefused)
	}
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.close()
		return fail("pipe", err)
	}
	t.r, t.w = ends[0], ends[1]
	if t.w < t.r { // the kernel hands out the lowest free number, which may be below
		if t.w, err = raise(t.w, t.r); err != nil {
			t.close()
			return fail("dup", err)
		}
	}
	if t.r2, err = reopen(t.r, t.w); err != nil {
		t.close()
		return fail("open again", err)
	}
	for _, fd := range []int{t.r, t.r2} {
		if err := resumeOnHangup(fd, p.PID); err != nil {
			t.close()
			return fail("fcntl", err)
		}
	}
	// F_SETOWN took a number. If the process lives now, it was this one then.
	if err := t.signal(0); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// resumeOnHangup has the kernel send SIGCONT when the last write end closes. The
// signal is set before the flag: the default, SIGIO, would kill the target.
func resumeOnHangup(fd, pid int) error {
	for _, set := range []struct{ cmd, arg int }{
		{unix.F_SETSIG, int(unix.SIGCONT)}, {unix.F_SETOWN, pid}, {unix.F_SETFL, unix.O_ASYNC | unix.O_NONBLOCK},
	} {
		if _, err := unix.FcntlInt(uintptr(fd), set.cmd, set.arg); err != nil {
			return err
		}
	}
	return nil
}

// reopen opens the pipe behind fd a second time, above a descriptor.
func reopen(fd, above int) (int, error) {
	again, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if again > above {
		return again, nil
	}
	up, err := raise(again, above)
	if err != nil {
		unix.Close(again)
		return -1, err
	}
	return up, nil
}

// raise moves a descriptor above another.
func raise(fd, above int) (int, error) {
	up, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, above+1)
	if err != nil {
		return fd, err
	}
	unix.Close(fd)
	return up, nil
}

func (t *signalled) signal(s unix.Signal) error {
	switch err := unix.PidfdSendSignal(t.pidfd, s, nil, 0); err {
	case nil:
		return nil
	case unix.ESRCH:
		return fmt.Errorf("signal process %d: %w", t.PID, inject.ErrGone)
	case unix.EPERM:
		return fmt.Errorf("signal process %d: not permitted, CAP_KILL or the same user is needed: %w", t.PID, inject.ErrUnsupported)
	default:
		return fmt.Errorf("signal process %d: %w", t.PID, err)
	}
}

// close lets go without a signal: the read ends lose O_ASYNC first.
func (t *signalled) close() {
	for _, fd := range []int{t.r, t.r2} {
		if fd >= 0 {
			_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_NONBLOCK)
		}
	}
	for _, fd := range []int{t.r, t.r2, t.w, t.pidfd} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	t.stat.Close()
}

// look reads whether every living thread is stopped, or with anyOne whether one is.
func (t *signalled) look(anyOne bool) (look, error) {
	lead, err := t.stat.Read()
	return lookAt(t.Process, lead, err, anyOne)
}
