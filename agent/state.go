package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// StateDir is where the journal lies unless told otherwise: $LOCKAUDIT_STATE,
// else /run/lockaudit-agent for the machine's root, else the user's runtime
// directory, else the user's state directory. Root of a user namespace is a user.
//
// /run lives as long as the boot, and so do the kernel objects of a fault: a
// journal that outlived them could only mislead. It is in memory, which takes two
// disk flushes off the way of every order.
func StateDir() (string, error) {
	if d := os.Getenv("LOCKAUDIT_STATE"); d != "" {
		return filepath.Abs(d)
	}
	if inject.MachineRoot() {
		return rootState, nil
	}
	if d := os.Getenv("XDG_RUNTIME_DIR"); d != "" {
		return filepath.Join(d, "lockaudit-agent"), nil
	}
	return userState()
}

// rootState is the state directory of the machine's own agent.
const rootState = "/run/lockaudit-agent"

func userState() (string, error) {
	if d := os.Getenv("XDG_STATE_HOME"); d != "" {
		return filepath.Join(d, "lockaudit-agent"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find state directory: %w; set LOCKAUDIT_STATE", err)
	}
	return filepath.Join(home, ".local/state/lockaudit-agent"), nil
}

// lasting is where that lies of a state directory's agent which outlives the boot:
// a halt, the log. A directory that was chosen is meant to hold all of it.
func lasting(stateDir string) string {
	if stateDir == rootState && inject.MachineRoot() {
		return "/var/lib/lockaudit-agent"
	}
	if d := os.Getenv("XDG_RUNTIME_DIR"); d != "" && stateDir == filepath.Join(d, "lockaudit-agent") {
		if user, err := userState(); err == nil {
			return user
		}
	}
	return stateDir
}

// lockState makes the directory and takes its lock, which is shared with the
// guard by inheritance and thus held until both are gone. Within the wait it
// lets the guard of an agent that has just died finish its reverts.
func lockState(dir string, wait time.Duration) (*os.File, error) {
	if err := makeState(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "faults"), 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, unix.EROFS) { // nothing can be injected there, but what is in effect can be reverted
		f, err = os.Open(filepath.Join(dir, "lock"))
	}
	if err != nil {
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	for end := time.Now().Add(wait); ; time.Sleep(10 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(end) {
			holder, _ := os.ReadFile(f.Name())
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, fmt.Errorf("lock %s: %w (%s)", dir, ErrBusy, strings.TrimSpace(string(holder)))
			}
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
	}
	// Who holds it, for the message above; the lock itself needs no content.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt(fmt.Appendf(nil, "pid %d\n", os.Getpid()), 0)
	}
	return f, nil
}

// makeState makes a state directory that only its owner can write to.
func makeState(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make state directory: %w; set LOCKAUDIT_STATE to a directory of yours", err)
	}
	// A directory that was there before may be somebody else's, so its mode is
	// checked and never changed.
	st, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("check state directory: %w", err)
	}
	// What its owner writes into the journal there would be carried out.
	if s, ok := st.Sys().(*syscall.Stat_t); ok && s.Uid != 0 && int(s.Uid) != os.Geteuid() {
		return fmt.Errorf("check state directory: %s belongs to uid %d; set LOCKAUDIT_STATE to a directory of yours", dir, s.Uid)
	}
	if st.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("check state directory: others may write to %s (mode %04o); set LOCKAUDIT_STATE to a directory of yours", dir, st.Mode().Perm())
	}
	return nil
}
