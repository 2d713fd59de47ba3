package pause

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target"

	"golang.org/x/sys/unix"
)

// group is a cgroup and where it is mounted.
type group struct {
	Path string // as in /proc/PID/cgroup
	dir  string
}

// markName is the extended attribute by which a frozen cgroup says whose fault it
// is; its value is the plan's id.
const markName = "trusted.lockaudit.pause"

// openGroup finds a cgroup by its path; ErrGone if there is none.
func openGroup(path string) (group, error) {
	m, err := target.CgroupMount()
	if err != nil {
		return group{}, err
	}
	dir, err := m.Path(path)
	if err != nil {
		return group{}, err
	}
	if dir == m.Dir {
		return group{}, fmt.Errorf("cgroup %s is the root of what is mounted at %s: %w", path, m.Dir, inject.ErrRefused)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return group{}, groupError(path, err)
	}
	return group{path, dir}, nil
}

func groupError(path string, err error) error {
	// A cgroup that is removed while it is read says ENODEV.
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("cgroup %s: %w", path, inject.ErrGone)
	}
	return fmt.Errorf("cgroup %s: %w", path, err)
}

func (g group) file(name string) string { return filepath.Join(g.dir, name) }

func (g group) read(name string) (string, error) {
	b, err := os.ReadFile(g.file(name))
	if err != nil {
		return "", groupError(g.Path, err)
	}
	return string(b), nil
}

func (g group) write(name, value string) error {
	if err := os.WriteFile(g.file(name), []byte(value), 0); err != nil {
		return groupError(g.Path, err)
	}
	return nil
}

// is reads a flag of cgroup.events: populated, or frozen, which is 1 once every
// process is stopped, by this cgroup or one above it.
func (g group) is(flag string) (bool, error) {
	s, err := g.read("cgroup.events")
	return strings.Contains(s, flag+" 1\n"), err
}

// own is what was written to cgroup.freeze of this cgroup itself.
func (g group) own() (bool, error) {
	s, err := g.read("cgroup.freeze")
	return strings.TrimSpace(s) == "1", err
}

// thawed reports that nothing is frozen by this cgroup; one above may be.
func (g group) thawed() (bool, error) {
	if own, err := g.own(); own || err != nil {
		return false, err
	}
	cold, err := g.is("frozen")
	if err != nil || !cold {
		return err == nil, err
	}
	m, err := target.CgroupMount()
	if err != nil {
		return false, err
	}
	for dir := filepath.Dir(g.dir); strings.HasPrefix(dir, m.Dir+"/"); dir = filepath.Dir(dir) {
		above := group{dir, dir}
		if own, err := above.own(); own || err != nil {
			return own, err
		}
	}
	return false, nil
}

// refuseFrozen: what others have frozen, or are about to, is theirs.
func (g group) refuseFrozen() error { return g.refuseFrozenBy("") }

// refuseFrozenBy allows the mark of one plan.
func (g group) refuseFrozenBy(id string) error {
	mark, err := g.mark()
	if err != nil {
		return err
	}
	if mark != "" && mark != id {
		return fmt.Errorf("cgroup %s is paused by fault %s: %w", g.Path, mark, inject.ErrRefused)
	}
	own, err1 := g.own()
	cold, err2 := g.is("frozen")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if own || cold {
		return fmt.Errorf("cgroup %s is frozen already: %w", g.Path, inject.ErrRefused)
	}
	return nil
}

// mark is whose fault the cgroup is; "" is nobody's.
func (g group) mark() (string, error) {
	b := make([]byte, 256)
	n, err := unix.Getxattr(g.dir, markName, b)
	switch {
	case errors.Is(err, unix.ENODATA):
		return "", nil
	case err != nil:
		return "", groupError(g.Path, fmt.Errorf("read mark: %w", err))
	}
	return string(b[:n]), nil
}

// claim marks the cgroup, unless it is marked.
func (g group) claim(id string) error {
	err := unix.Setxattr(g.dir, markName, []byte(id), unix.XATTR_CREATE)
	switch {
	case errors.Is(err, unix.EEXIST):
		return g.refuseFrozenBy(id)
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTSUP):
		return fmt.Errorf("cgroup %s: write mark: %w; CAP_SYS_ADMIN is needed: %w", g.Path, err, inject.ErrUnsupported)
	case err != nil:
		return groupError(g.Path, fmt.Errorf("write mark: %w", err))
	}
	return nil
}

func (g group) unmark() error {
	err := unix.Removexattr(g.dir, markName)
	if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cgroup %s: remove mark: %w", g.Path, err)
	}
	return nil
}

// processes lists what lives in the cgroup and below.
func (g group) processes() ([]int, error) {
	var out []int
	err := filepath.WalkDir(g.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			if errors.Is(err, fs.ErrNotExist) && path != g.dir {
				return nil // a cgroup below that was removed meanwhile
			}
			return err
		}
		b, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, fs.ErrNotExist) {
			return nil // removed; or of threads, whose processes are listed above
		}
		if err != nil {
			return err
		}
		for _, line := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(line)
			if err != nil {
				return err
			}
			if pid == 0 {
				return fmt.Errorf("it holds a process of another pid namespace: %w", inject.ErrRefused)
			}
			out = append(out, pid)
		}
		return nil
	})
	if err != nil {
		return nil, groupError(g.Path, err)
	}
	return out, nil
}
