package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lockaudit/lockaudit/inject/target"

	"golang.org/x/sys/unix"
)

// groups gives each client a control group (v2) of its own, below the agent's, so
// that a fault can hit its packets and nobody else's. It is a help, not a need: where
// it cannot be had, clients share the agent's group.
//
// A group that its agent could not remove, because it was killed, is noted in the
// state directory and removed by the guard or at the next start.
type groups struct{ dir string }

func newGroups(stateDir string) groups { return groups{filepath.Join(stateDir, "groups")} }

// groupPrefix is how the groups of clients are named.
const groupPrefix = "lockaudit-client-"

// group is one client's. The zero value is none.
type group struct {
	dir, note string
	fd        *os.File
}

// make makes a group, or returns none where that is not possible.
func (g groups) make() (group, error) {
	parent, err := ownGroup()
	if err != nil {
		return group{}, err
	}
	id, err := newID()
	if err != nil {
		return group{}, err
	}
	made := group{dir: filepath.Join(parent, groupPrefix+id), note: filepath.Join(g.dir, id)}
	if err := os.MkdirAll(g.dir, 0o700); err != nil {
		return group{}, err
	}
	if err := os.WriteFile(made.note, []byte(made.dir), 0o600); err != nil {
		return group{}, err
	}
	if err := os.Mkdir(made.dir, 0o755); err != nil {
		return group{}, errors.Join(err, remove(made.note))
	}
	if made.fd, err = os.OpenFile(made.dir, os.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
		return group{}, errors.Join(err, made.remove())
	}
	return made, nil
}

// ownGroup is the directory of this process's control group.
func ownGroup() (string, error) {
	m, err := target.CgroupMount()
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return m.Path(path)
		}
	}
	return "", errors.New("this process is in no control group of v2")
}

// attr has a child born in the group.
func (g group) attr(a *syscall.SysProcAttr) {
	if g.fd != nil {
		a.UseCgroupFD, a.CgroupFD = true, int(g.fd.Fd())
	}
}

// remove removes the group once nobody is in it. What has just been killed may take
// a moment to leave it.
func (g group) remove() error {
	if g.dir == "" {
		return nil
	}
	if g.fd != nil {
		_ = g.fd.Close()
	}
	err := remove(g.dir)
	for end := time.Now().Add(grace / 2); errors.Is(err, unix.EBUSY) && time.Now().Before(end); err = remove(g.dir) {
		ts := unix.NsecToTimespec(int64(time.Millisecond))
		_ = unix.Nanosleep(&ts, nil)
	}
	if err != nil {
		return fmt.Errorf("remove control group of a client: %w", err)
	}
	return remove(g.note)
}

// sweep removes what an agent left that was killed. A group that still has members,
// and anything that is not named as ours, stays.
func (g groups) sweep() error {
	notes, err := os.ReadDir(g.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("sweep control groups: %w", err)
	}
	var errs []error
	for _, n := range notes {
		note := filepath.Join(g.dir, n.Name())
		dir, err := os.ReadFile(note)
		if err != nil || filepath.Base(string(dir)) != groupPrefix+n.Name() || !validID.MatchString(n.Name()) {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, group{dir: string(dir), note: note}.remove())
	}
	return errors.Join(errs...)
}
