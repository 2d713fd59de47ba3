package agent

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// nobody is the uid and gid of client processes on a real root's node.
const nobody = 65534

// spawner starts client processes from one OS thread that lives as long as the
// agent: the kernel's parent-death signal means the parent's thread, and the
// privileges dropped here are the thread's own.
type spawner struct {
	jobs chan func()
	done chan struct{}
}

func newSpawner() (*spawner, error) {
	s := &spawner{jobs: make(chan func()), done: make(chan struct{})}
	ready := make(chan error)
	go func() {
		defer close(s.done)
		runtime.LockOSThread() // never unlocked, so the thread ends with its restrictions
		ready <- dropPrivileges()
		for f := range s.jobs {
			f()
		}
	}()
	if err := <-ready; err != nil {
		close(s.jobs)
		<-s.done
		return nil, err
	}
	return s, nil
}

// dropPrivileges takes from this thread, for its children, every way back to
// privileges: set-uid programs, and where uid 0 must be kept (a user namespace
// that maps nothing else) its capabilities. Only root can give up the latter, and
// only root needs to.
func dropPrivileges() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	if os.Geteuid() != 0 {
		return nil
	}
	for c := uintptr(0); ; c++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if err == unix.EINVAL {
			break // past the last capability of this kernel
		}
		if err != nil {
			return fmt.Errorf("drop capability %d from the bounding set: %w", c, err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clear ambient capabilities: %w", err)
	}
	// An inherited capability would pass the empty bounding set by.
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&hdr, &caps[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	caps[0].Inheritable, caps[1].Inheritable = 0, 0
	if err := unix.Capset(&hdr, &caps[0]); err != nil {
		return fmt.Errorf("clear inheritable capabilities: %w", err)
	}
	return nil
}

// start starts the command on the spawner's thread.
func (s *spawner) start(cmd *exec.Cmd) error {
	err := make(chan error)
	s.jobs <- func() { err <- cmd.Start() }
	return <-err
}

func (s *spawner) close() {
	close(s.jobs)
	<-s.done
}

// credential is who a client runs as: nobody, where the machine's root starts it.
// Inside a user namespace it keeps its uid (the kernel's own resume of a stopped
// process, a SIGIO, is only allowed between equal uids or from the machine's
// root) and has lost its capabilities to dropPrivileges.
func credential() *syscall.Credential {
	if !inject.MachineRoot() {
		return nil
	}
	return &syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{}}
}

// program opens the executable as the agent's user, because the directories above
// it may be closed to the client's.
func program(name string) (*os.File, error) {
	path := name
	if !strings.Contains(name, "/") {
		found, err := exec.LookPath(name)
		if err != nil {
			self, err2 := os.Executable()
			found = filepath.Join(filepath.Dir(self), name)
			if _, err3 := os.Stat(found); errors.Join(err2, err3) != nil {
				return nil, fmt.Errorf("find %s: %w, nor beside the agent", name, err)
			}
		}
		path = found
	}
	f, err := os.OpenFile(path, unix.O_PATH, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && (!st.Mode().IsRegular() || st.Mode()&0o111 == 0) {
		err = fmt.Errorf("%s is not an executable file", path)
	}
	if err == nil && credential() != nil && st.Mode()&0o001 == 0 {
		err = fmt.Errorf("%s may not be executed by uid %d: chmod o+rx it", path, nobody)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
