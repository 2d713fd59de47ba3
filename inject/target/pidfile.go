package target

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// inPIDFile reads the pid in the file's first line. The file steers a fault that
// root carries out, so it must belong to root or to the process's own user and be
// writable by nobody else, and it must not be older than the process: one that a
// crashed server left behind names whoever has the number now.
func inPIDFile(path string) ([]candidate, error) {
	// It must not block on a pipe or start a device.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", err, ErrNone)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fmt.Errorf("stat: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("it is not a regular file: %w", inject.ErrRefused)
	}
	pid, err := readPID(f)
	if err != nil {
		return nil, err
	}
	c, err := look(pid)
	if err != nil {
		return nil, fmt.Errorf("it names process %d: %w", pid, err)
	}
	return []candidate{c}, trusted(st, c)
}

func readPID(r io.Reader) (int, error) {
	b, err := io.ReadAll(io.LimitReader(r, 4096))
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("its first line is %.40q, not a process id", line)
	}
	return pid, nil
}

// slack covers the resolution of start times and of file times.
const slack = 2 * time.Second

func trusted(st unix.Stat_t, c candidate) error {
	var proc unix.Stat_t
	if err := unix.Stat("/proc/"+strconv.Itoa(c.PID), &proc); err != nil {
		return notThere(err)
	}
	started, err := startedAt(c.StartTime)
	written := time.Unix(st.Mtim.Unix())
	switch {
	case err != nil:
		return err
	case st.Mode&0o022 != 0:
		return fmt.Errorf("others than its owner can write it (mode %#o): %w", st.Mode&0o777, inject.ErrRefused)
	case st.Uid != 0 && st.Uid != proc.Uid:
		return fmt.Errorf("it belongs to uid %d, and %v to uid %d: %w", st.Uid, c, proc.Uid, inject.ErrRefused)
	case written.Before(started.Add(-slack)):
		return fmt.Errorf("it is left over: written %v before %v came to life (or the clock was set since): %w",
			started.Sub(written).Round(time.Second), c, inject.ErrRefused)
	}
	return nil
}

// startedAt converts field 22 of /proc/PID/stat to wall-clock time. Linux shows
// USER_HZ = 100 to programs on every architecture that Go runs on.
func startedAt(ticks uint64) (time.Time, error) {
	var boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return time.Time{}, fmt.Errorf("read boot time: %w", err)
	}
	age := time.Duration(boot.Nano()) - time.Duration(ticks)*10*time.Millisecond
	return time.Now().Add(-age), nil
}
