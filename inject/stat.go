package inject

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// Stat is the part of /proc/PID/stat that faults look at.
type Stat struct {
	Comm       string
	State      byte // R, S, D, T, t, Z, X …
	PPID, PGID int
	Flags      uint64 // PF_* of the kernel
	Threads    int
	StartTime  uint64
}

// Stopped reports a job-control stop (T) or a tracing stop (t).
func (s Stat) Stopped() bool { return s.State == 'T' || s.State == 't' }

// Dead reports a zombie or a process in its last moments.
func (s Stat) Dead() bool { return s.State == 'Z' || s.State == 'X' || s.State == 'x' }

// Exiting reports a thread that has given up its namespaces and files, or is about to
// (PF_EXITING of include/linux/sched.h).
func (s Stat) Exiting() bool { return s.Flags&0x4 != 0 }

// Kernel reports a kernel thread (PF_KTHREAD of include/linux/sched.h).
func (s Stat) Kernel() bool { return s.Flags&0x00200000 != 0 }

// ReadStat reads /proc/PID/stat; ErrGone if there is no such process.
func ReadStat(pid int) (Stat, error) {
	return ReadStatFile("/proc/" + strconv.Itoa(pid) + "/stat")
}

// ReadStatFile reads one stat file, of a process or of a thread.
func ReadStatFile(path string) (Stat, error) {
	var buf [1024]byte
	b, err := readSmall(path, buf[:])
	if err != nil {
		return Stat{}, err
	}
	return parseStat(b)
}

// Comm reads a process's name alone, at a third of what ReadStat costs; ErrGone if there
// is no such process.
func Comm(pid int) (string, error) {
	var buf [64]byte
	b, err := readSmall("/proc/"+strconv.Itoa(pid)+"/comm", buf[:])
	return string(bytes.TrimSuffix(b, []byte{'\n'})), err
}

// StatFile is /proc/PID/stat kept open: a look takes one system call instead of
// three, and is always at this process, whoever gets the number after it.
type StatFile struct{ fd int }

// OpenStatFile opens it; ErrGone if there is no such process. The caller closes it.
func OpenStatFile(pid int) (StatFile, error) {
	path := "/proc/" + strconv.Itoa(pid) + "/stat"
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return StatFile{-1}, readError(path, err)
	}
	return StatFile{fd}, nil
}

// Read looks at the process as it is now; ErrGone once it has been reaped.
func (f StatFile) Read() (Stat, error) {
	var buf [1024]byte
	n, err := readStart(f.fd, buf[:])
	if err != nil {
		return Stat{}, readError("stat", err)
	}
	return parseStat(buf[:n])
}

// Close lets go of it.
func (f StatFile) Close() { unix.Close(f.fd) }

// statFields is how many fields after the name are looked at.
const statFields = 20

// parseStat takes the command name up to the last parenthesis, because a name
// may itself contain parentheses and blanks. Nothing else leaves the stack: a fault
// reads thousands of these.
func parseStat(b []byte) (Stat, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return Stat{}, fmt.Errorf("parse stat: %q", string(b))
	}
	var f [statFields][]byte
	n := 0
	for rest := bytes.TrimSpace(b[end+1:]); n < len(f) && len(rest) > 0; n++ {
		f[n], rest, _ = bytes.Cut(rest, []byte{' '})
	}
	if n < len(f) || len(f[0]) != 1 {
		return Stat{}, fmt.Errorf("parse stat: %d fields after the name", n)
	}
	ppid, err1 := strconv.Atoi(string(f[1]))
	pgid, err2 := strconv.Atoi(string(f[2]))
	flags, err3 := strconv.ParseUint(string(f[6]), 10, 64)
	threads, err4 := strconv.Atoi(string(f[17]))
	start, err5 := strconv.ParseUint(string(f[19]), 10, 64)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return Stat{}, fmt.Errorf("parse stat: %w", err)
	}
	return Stat{Comm: string(b[open+1 : end]), State: f[0][0], PPID: ppid, PGID: pgid, Flags: flags, Threads: threads, StartTime: start}, nil
}

// readSmall reads a proc file with three system calls and without the poller,
// which a fault with a deadline in microseconds cannot afford.
func readSmall(path string, buf []byte) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, readError(path, err)
	}
	defer unix.Close(fd)
	n, err := readStart(fd, buf)
	if err != nil {
		return nil, readError(path, err)
	}
	return buf[:n], nil
}

// readStart reads a proc file from its start, again if a signal interrupts it.
func readStart(fd int, buf []byte) (int, error) {
	for {
		if n, err := unix.Pread(fd, buf, 0); !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

func readError(path string, err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		err = ErrGone
	}
	return fmt.Errorf("read %s: %w", path, err)
}
