package pause

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// stoppable refuses what must never be stopped, by the rules of the design.
func stoppable(m member, protected inject.Protected) error {
	if err := protected.Refuse(m.PID, m.Stat); err != nil {
		return err
	}
	if m.Stopped() {
		return fmt.Errorf("process %d (%s) is stopped already, and not by us: %w", m.PID, m.Comm, inject.ErrRefused)
	}
	return nil
}

// signallable checks that we may signal the target, and that the kernel may do so
// in our name when we are dead. It asks more for the latter: the machine's root,
// or the target's own uid (sigio_perm in fs/fcntl.c). In a user namespace CAP_KILL
// alone would stop a process that nothing resumes.
func signallable(m member) error {
	switch err := unix.Kill(m.PID, 0); err { // no signal, so it need not be exactly this process
	case nil:
	case unix.ESRCH:
		return fmt.Errorf("process %d: %w", m.PID, inject.ErrGone)
	case unix.EPERM:
		return fmt.Errorf("signal process %d (%s): not permitted, CAP_KILL or the same user is needed: %w", m.PID, m.Comm, inject.ErrUnsupported)
	default:
		return fmt.Errorf("signal process %d (%s): %w", m.PID, m.Comm, err)
	}
	if inject.MachineRoot() {
		return nil
	}
	real, saved, err := uids(m.PID)
	if err != nil {
		return err
	}
	for _, uid := range []int{os.Getuid(), os.Geteuid()} {
		if uid == real || uid == saved {
			return nil
		}
	}
	return fmt.Errorf("process %d (%s) belongs to uid %d, and the kernel would not resume it in the name of uid %d of this user namespace: %w",
		m.PID, m.Comm, real, os.Geteuid(), inject.ErrUnsupported)
}

// uids reads a process's real and saved uid.
func uids(pid int) (real, saved int, err error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, 0, fmt.Errorf("read uids of %d: %w", pid, err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 5 && f[0] == "Uid:" {
			real, err1 := strconv.Atoi(f[1])
			saved, err2 := strconv.Atoi(f[3])
			return real, saved, errors.Join(err1, err2)
		}
	}
	return 0, 0, fmt.Errorf("read uids of %d: no Uid line", pid)
}
