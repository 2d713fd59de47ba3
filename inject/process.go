package inject

import (
	"errors"
	"fmt"
	"os"
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

// Open returns a pidfd of exactly this process: the start time is compared after
// the pidfd exists, so a reused pid cannot be mistaken for it. A zombie or
// another process is ErrGone. The caller closes the pidfd.
func (p Process) Open() (int, error) {
	fd, f, _, err := p.OpenStat()
	if err == nil {
		f.Close()
	}
	return fd, err
}

// OpenStat is Open, with the process's stat file and what was read there after the
// pidfd existed. The caller closes both.
func (p Process) OpenStat() (pidfd int, f StatFile, s Stat, err error) {
	pidfd, err = unix.PidfdOpen(p.PID, 0)
	switch {
	case errors.Is(err, unix.ESRCH):
		err = ErrGone
	case errors.Is(err, unix.ENOSYS):
		err = fmt.Errorf("no pidfd, kernel 5.3 or later is needed: %w", ErrUnsupported)
	}
	if err != nil {
		return -1, f, s, fmt.Errorf("open process %d: %w", p.PID, err)
	}
	if f, err = OpenStatFile(p.PID); err == nil {
		if s, err = f.Read(); err == nil && (s.StartTime != p.StartTime || s.Dead()) {
			err = ErrGone
		}
		if err != nil {
			f.Close()
		}
	}
	if err != nil {
		unix.Close(pidfd)
		return -1, f, s, fmt.Errorf("open process %d started at tick %d: %w", p.PID, p.StartTime, err)
	}
	return pidfd, f, s, nil
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
