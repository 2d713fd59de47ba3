package inject

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Process names a process beyond the reuse of its pid.
type Process struct {
	PID int `json:"pid"`
	// StartTime is /proc/PID/stat field 22, in clock ticks since boot.
	StartTime uint64 `json:"start_time"`
}

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

// parseStat takes the command name up to the last parenthesis, because a name
// may itself contain parentheses and blanks.
func parseStat(b []byte) (Stat, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return Stat{}, fmt.Errorf("parse stat: %q", b)
	}
	var f [statFields]string // fixed: a fault reads thousands of these
	n := 0
	for w := range strings.FieldsSeq(string(b[end+1:])) {
		if f[n] = w; n == len(f)-1 {
			break
		}
		n++
	}
	if n < len(f)-1 || len(f[0]) != 1 {
		return Stat{}, fmt.Errorf("parse stat: %d fields after the name", n)
	}
	ppid, err1 := strconv.Atoi(f[1])
	pgid, err2 := strconv.Atoi(f[2])
	flags, err3 := strconv.ParseUint(f[6], 10, 64)
	threads, err4 := strconv.Atoi(f[17])
	start, err5 := strconv.ParseUint(f[19], 10, 64)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return Stat{}, fmt.Errorf("parse stat: %w", err)
	}
	return Stat{Comm: string(b[open+1 : end]), State: f[0][0], PPID: ppid, PGID: pgid, Flags: flags, Threads: threads, StartTime: start}, nil
}

// statFields is how many fields after the name are looked at.
const statFields = 20

// readSmall reads a proc file with three system calls and without the poller,
// which a fault with a deadline in microseconds cannot afford.
func readSmall(path string, buf []byte) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
		var n int
		for {
			if n, err = unix.Read(fd, buf); err != unix.EINTR {
				break
			}
		}
		if err == nil {
			return buf[:n], nil
		}
	}
	if err == unix.ENOENT || err == unix.ESRCH {
		return nil, fmt.Errorf("read %s: %w", path, ErrGone)
	}
	return nil, fmt.Errorf("read %s: %w", path, err)
}

// Open returns a pidfd of exactly this process: the start time is compared after
// the pidfd exists, so a reused pid cannot be mistaken for it. A zombie or
// another process is ErrGone. The caller closes the pidfd.
func (p Process) Open() (int, error) {
	fd, _, err := p.OpenStat()
	return fd, err
}

// OpenStat is Open, with what was read of the process after the pidfd existed.
func (p Process) OpenStat() (int, Stat, error) {
	fd, err := unix.PidfdOpen(p.PID, 0)
	switch {
	case errors.Is(err, unix.ESRCH):
		return -1, Stat{}, fmt.Errorf("open process %d: %w", p.PID, ErrGone)
	case errors.Is(err, unix.ENOSYS):
		return -1, Stat{}, fmt.Errorf("open process %d: no pidfd, kernel 5.3 or later is needed: %w", p.PID, ErrUnsupported)
	case err != nil:
		return -1, Stat{}, fmt.Errorf("open process %d: %w", p.PID, err)
	}
	s, err := ReadStat(p.PID)
	if err == nil && (s.StartTime != p.StartTime || s.Dead()) {
		err = ErrGone
	}
	if err != nil {
		unix.Close(fd)
		return -1, Stat{}, fmt.Errorf("open process %d started at tick %d: %w", p.PID, p.StartTime, err)
	}
	return fd, s, nil
}

// BootID identifies this boot of the kernel.
func BootID() (string, error) { return bootID() }

// Neither changes in the life of a process, and both lie on the way of every order.
var (
	bootID      = sync.OnceValues(readBootID)
	machineRoot = sync.OnceValue(readMachineRoot)
)

func readBootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// MachineRoot reports that this process is uid 0 of the machine, as far as the
// map of its user namespace shows it. Root of a user namespace that maps another
// uid is an ordinary user to the rest of the kernel.
func MachineRoot() bool { return machineRoot() }

func readMachineRoot() bool {
	if os.Geteuid() != 0 {
		return false
	}
	b, err := os.ReadFile("/proc/self/uid_map")
	f := strings.Fields(string(b))
	return err == nil && len(f) == 3 && f[0] == "0" && f[1] == "0" && f[2] == "4294967295"
}
