package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Files of a lab that are visible outside of it, in its directory.
const (
	controlName = "control.sock"
	keeperName  = "keeper.json"
	planName    = "plan.yaml"
	logsName    = "logs"
)

// Base returns the directory in which labs of this user keep their directories:
// $XDG_RUNTIME_DIR, /run if it is writable, or the directory for temporary files.
func Base() string {
	parent := os.Getenv("XDG_RUNTIME_DIR")
	switch {
	case parent != "":
	case unix.Access("/run", unix.W_OK) == nil:
		parent = "/run"
	default:
		parent = os.TempDir()
	}
	return filepath.Join(parent, fmt.Sprintf("locklab-%d", os.Geteuid()))
}

// place is the directory of one lab.
type place struct{ base, path string }

func placeOf(base string, l Lab) place { return place{base, filepath.Join(base, l.Name)} }

func (p place) plan() string { return filepath.Join(p.path, planName) }

func (p place) logs() string { return filepath.Join(p.path, logsName) }

func (p place) file(name string) string { return filepath.Join(p.path, name) }

// makePrivate makes a directory that only this user can enter. In a shared
// parent such as /tmp somebody else may have made it first: that is refused.
func makePrivate(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make directory: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("check directory %s: %w", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return Hint(fmt.Errorf("check directory %s: not a private directory of uid %d", dir, os.Geteuid()),
			"remove it, or name another one with --dir or LOCKLAB_DIR")
	}
	return nil
}

// lock makes the lab's directory where it is missing and takes it for this
// process, so that an up and a down of one lab never overlap.
func (p place) lock(ctx context.Context) (unlock func(), err error) {
	for {
		if err := makePrivate(p.base); err != nil {
			return nil, err
		}
		if err := makePrivate(p.path); err != nil {
			if errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil {
				continue // a down has just removed the base
			}
			return nil, err
		}
		dir, err := os.Open(p.path)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil {
				continue // a down has just removed it
			}
			return nil, fmt.Errorf("open directory: %w", err)
		}
		err = flock(ctx, dir)
		if err == nil && sameFile(dir, p.path) {
			return func() { _ = dir.Close() }, nil
		}
		_ = dir.Close()
		if err != nil {
			return nil, err
		}
	}
}

func flock(ctx context.Context, dir *os.File) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for another locklab on %s: %w", dir.Name(), ctx.Err())
		}
	}
}

func sameFile(open *os.File, path string) bool {
	a, errA := open.Stat()
	b, errB := os.Stat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// remove deletes the lab's directory, and the base once it is empty.
func (p place) remove() error {
	if err := os.RemoveAll(p.path); err != nil {
		return fmt.Errorf("remove directory: %w", err)
	}
	// Not empty while another lab is up.
	_ = os.Remove(p.base)
	return nil
}

// socket calls use with a path to the control socket that is short enough for a
// socket address (108 bytes), however long the directory's own path is.
func (p place) socket(use func(path string) error) error {
	dir, err := os.Open(p.path)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	defer func() { _ = dir.Close() }()
	return use(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), controlName))
}

func (p place) listen() (listener *net.UnixListener, err error) {
	err = p.socket(func(path string) error {
		listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on control socket: %w", err)
	}
	// The path names a descriptor that is closed by now; the directory is removed
	// as a whole.
	listener.SetUnlinkOnClose(false)
	return listener, nil
}

func (p place) dial() (conn *net.UnixConn, err error) {
	err = p.socket(func(path string) error {
		conn, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect to keeper: %w", err)
	}
	return conn, nil
}
