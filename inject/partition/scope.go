package partition

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/netns"
	"github.com/lockaudit/lockaudit/inject/target"

	"golang.org/x/sys/unix"
)

// group is a control group (v2). Its id is never used again before the next boot.
type group struct {
	Path  string `json:"path"`
	ID    uint64 `json:"id"`
	Level uint32 `json:"level"` // of the hierarchy, below the root's 0
}

func (g group) String() string { return "the control group " + g.Path }

// scope finds the control group of the order's process, and its namespace unless
// the order names another. Nothing is moved: a process that shares its group with
// others cannot be cut off alone, and the refusal names them.
func (c cut) scope(ctx context.Context) (netns.Name, *group, error) {
	fail := func(err error) (netns.Name, *group, error) {
		return netns.Name{}, nil, fmt.Errorf("cut off only %v: %w", c.process, err)
	}
	t, err := target.Resolve(ctx, c.process)
	if err != nil {
		return fail(err)
	}
	path, whole := t.Cgroup, false
	if (c.process.Unit != "" || c.process.Container != "") && t.Group != "" {
		path, whole = t.Group, true
	}
	dir, err := groupDir(path)
	if err != nil {
		return fail(err)
	}
	members, err := membersOf(dir, path == "/")
	if err != nil {
		return fail(err)
	}
	if !members[t.PID] {
		return fail(fmt.Errorf("it is not in %s, where its control group should be: %w", dir, inject.ErrUnsupported))
	}
	if others := strangers(members, t.PID); path == "/" || !whole && len(others) > 0 {
		return fail(fmt.Errorf("its control group %s has other processes too: %s; start it in a group of its own, as a systemd unit has: %w", path, list(others), inject.ErrRefused))
	}
	g := &group{Path: path, Level: uint32(strings.Count(path, "/"))}
	if g.ID, err = groupID(dir); err != nil {
		return fail(err)
	}
	ns := c.Netns
	if ns.Path == "" && ns.Of.IsZero() {
		ns.Of = target.Selector{PID: t.PID, StartTime: t.StartTime}
	}
	return ns, g, nil
}

// initialCgroupNamespace is PROC_CGROUP_INIT_INO.
const initialCgroupNamespace = 0xEFFFFFFB

// groupDir is the directory of a control group, where cgroup v2 is mounted.
func groupDir(path string) (string, error) {
	if path == "" {
		return "", fmt.Errorf("there is no cgroup v2: %w", inject.ErrUnsupported)
	}
	// Kernels disagree about what a level is in a namespace of control groups.
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/cgroup", &st); err != nil || st.Ino != initialCgroupNamespace {
		return "", errors.Join(fmt.Errorf("this agent is in a cgroup namespace of its own: %w", inject.ErrUnsupported), err)
	}
	m, err := target.CgroupMount()
	if err != nil {
		return "", err
	}
	return m.Path(path)
}

// membersOf are the processes in a control group and those below it.
func membersOf(dir string, root bool) (map[int]bool, error) {
	out := map[int]bool{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return skipGone(err)
		}
		if root && path != dir {
			return fs.SkipDir // the rest of the machine: those in the root itself are too many already
		}
		b, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for line := range bytes.Lines(b) {
			if pid, err := strconv.Atoi(strings.TrimSpace(string(line))); err == nil {
				out[pid] = true
			}
		}
		if errors.Is(err, unix.EOPNOTSUPP) {
			return nil // threads of others
		}
		return skipGone(err)
	})
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: %w", err, inject.ErrUnsupported)
	}
	if err != nil {
		return nil, fmt.Errorf("read members of %s: %w", dir, err)
	}
	return out, nil
}

func skipGone(err error) error {
	if notThere(err) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// strangers are the members that are neither the process nor its descendants.
func strangers(members map[int]bool, pid int) []string {
	var out []string
	for _, m := range slices.Sorted(maps.Keys(members)) {
		s, err := inject.ReadStat(m)
		name := s.Comm
		for up := m; err == nil && up != pid; {
			if up <= 1 {
				out = append(out, fmt.Sprintf("process %d (%s)", m, name))
				break
			}
			up = s.PPID
			if up > 1 && up != pid {
				s, err = inject.ReadStat(up)
			}
		}
	}
	return out
}

// groupID is what packets' sockets carry. It is the file handle of the directory;
// the inode number is the same only on 64 bits.
func groupID(dir string) (uint64, error) {
	h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, dir, 0)
	if err != nil {
		return 0, fmt.Errorf("identify control group %s: %w", dir, err)
	}
	if b := h.Bytes(); len(b) == 8 {
		return binary.NativeEndian.Uint64(b), nil
	}
	return 0, fmt.Errorf("identify control group %s: a handle of %d bytes: %w", dir, h.Size(), inject.ErrUnsupported)
}
