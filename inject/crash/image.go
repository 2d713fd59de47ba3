package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target"

	"golang.org/x/sys/unix"
)

// image is everything by which a server can be started as it was.
type image struct {
	Exe  string   `json:"exe"`
	Argv []string `json:"argv"`
	// Env may hold secrets. It is in the journal, which only root can read, and is
	// never sent to the auditor.
	Env    []string       `json:"env"`
	Dir    string         `json:"dir"`
	UID    uint32         `json:"uid"`
	GID    uint32         `json:"gid"`
	Groups []uint32       `json:"groups"`
	Umask  int            `json:"umask"`
	Nice   int            `json:"nice"`
	OOM    string         `json:"oom"`
	Limits map[int]rlimit `json:"limits"`
	// Stdout and Stderr are files to append to; "": /dev/null.
	Stdout string `json:"stdout,omitempty"`
	Stderr string `json:"stderr,omitempty"`
	// Cgroup is the cgroup v2 path, so that the server does not end with the
	// session or the service of the agent.
	Cgroup string `json:"cgroup,omitempty"`
}

type rlimit struct {
	Soft uint64 `json:"soft"`
	Hard uint64 `json:"hard"`
}

// plan decides who starts the server again, and says so.
func (u *undo) plan(ctx context.Context, t target.Target, r *Restart) (string, error) {
	main, err := mainOf(ctx, t)
	if err != nil {
		return "", err
	}
	if main {
		if r != nil {
			return "", fmt.Errorf("process %d is the main process of %s, which systemd starts again; leave the restart command out: %w", t.PID, t.Unit, inject.ErrRefused)
		}
		u.Unit = t.Unit
		return fmt.Sprintf("unit %s: started again by its Restart=, or else by systemd on our request", t.Unit), nil
	}
	if err := sameNamespaces(t, r != nil); err != nil {
		return "", err
	}
	if u.Image, err = readImage(t); err != nil {
		return "", err
	}
	if r != nil {
		err = u.Image.apply(*r)
	} else if err = u.Image.usable(t, u.Twin); err == nil {
		err = refuseBeyond(t)
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("execute %s with %d arguments as uid %d in %s", u.Image.Exe, len(u.Image.Argv)-1, u.Image.UID, u.Image.Dir), nil
}

// sameNamespaces refuses a server that sees another system than this process: it
// would be started in the wrong one. A restart command may make a user namespace for
// the server, as the one before has: PostgreSQL wants to be no root in one.
func sameNamespaces(t target.Target, command bool) error {
	proc := "/proc/" + strconv.Itoa(t.PID)
	for _, what := range []string{"ns/pid", "ns/mnt", "ns/net", "ns/user", "ns/ipc", "ns/uts", "root"} {
		if what == "ns/user" && command {
			continue
		}
		theirs, err := os.Stat(proc + "/" + what)
		if err != nil {
			return fmt.Errorf("look at process %d: %w", t.PID, err)
		}
		ours, err := os.Stat("/proc/self/" + what)
		if err != nil {
			return fmt.Errorf("look at this process: %w", err)
		}
		if !os.SameFile(ours, theirs) {
			return fmt.Errorf("process %d (%s) has another %s than the agent, where it could not be started again; run the agent there, or use a hook: %w",
				t.PID, t.Comm, strings.TrimPrefix(what, "ns/")+" namespace", inject.ErrUnsupported)
		}
	}
	return nil
}

func readImage(t target.Target) (image, error) {
	proc := "/proc/" + strconv.Itoa(t.PID)
	im := image{Argv: t.Cmdline, Cgroup: t.Cgroup}
	var err error
	if im.Exe, err = os.Readlink(proc + "/exe"); err != nil {
		return im, fmt.Errorf("read program of process %d: %w", t.PID, err)
	}
	im.Exe = strings.TrimSuffix(im.Exe, " (deleted)") // an upgrade put another file there
	if im.Dir, err = os.Readlink(proc + "/cwd"); err != nil {
		return im, fmt.Errorf("read directory of process %d: %w", t.PID, err)
	}
	if im.Env, err = environ(proc); err != nil {
		return im, err
	}
	if err := im.status(t.PID); err != nil {
		return im, err
	}
	im.Stdout, im.Stderr = logOf(proc+"/fd/1"), logOf(proc+"/fd/2")
	oom, err := os.ReadFile(proc + "/oom_score_adj")
	im.OOM = strings.TrimSpace(string(oom))
	if err != nil {
		return im, fmt.Errorf("read oom_score_adj of process %d: %w", t.PID, err)
	}
	nice, err := unix.Getpriority(unix.PRIO_PROCESS, t.PID)
	if err != nil {
		return im, fmt.Errorf("read priority of process %d: %w", t.PID, err)
	}
	im.Nice = 20 - nice                          // the system call answers 1..40
	limits, err := os.ReadFile(proc + "/limits") // prlimit asks for more rights
	if err != nil {
		return im, fmt.Errorf("read limits of process %d: %w", t.PID, err)
	}
	if im.Limits, err = parseLimits(string(limits)); err != nil {
		return im, fmt.Errorf("read limits of process %d: %w", t.PID, err)
	}
	return im, nil
}

// parseLimits reads /proc/PID/limits: a header, and a line for each limit in the
// order of their numbers, the name in the first 25 columns.
func parseLimits(text string) (map[int]rlimit, error) {
	const name = 25
	out := map[int]rlimit{}
	for i, line := range strings.Split(strings.TrimSpace(text), "\n")[1:] {
		f := strings.Fields(line[min(name, len(line)):])
		if len(f) < 2 {
			return nil, fmt.Errorf("parse %q", line)
		}
		soft, err1 := limit(f[0])
		hard, err2 := limit(f[1])
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("parse %q: %w", line, err)
		}
		out[i] = rlimit{soft, hard}
	}
	return out, nil
}

func limit(s string) (uint64, error) {
	if s == "unlimited" {
		return unix.RLIM_INFINITY, nil
	}
	return strconv.ParseUint(s, 10, 64)
}

// environ is the environment with which the process was started. A program that
// writes a title over its arguments may have written over this too; what is no
// variable any more is left out.
func environ(proc string) ([]string, error) {
	b, err := os.ReadFile(proc + "/environ")
	if err != nil {
		return nil, fmt.Errorf("read environment: %w", err)
	}
	env := slices.DeleteFunc(strings.Split(string(b), "\x00"), func(s string) bool { return inject.CheckEnv([]string{s}) != nil })
	if len(env) == 0 {
		env = []string{"PATH=" + inject.SearchPath}
	}
	return env, nil
}

// logOf is the file behind a descriptor, if it is one that can be appended to.
func logOf(fd string) string {
	path, err := os.Readlink(fd)
	if err != nil || !filepath.IsAbs(path) {
		return ""
	}
	open, err1 := os.Stat(fd)
	there, err2 := os.Stat(path)
	if err1 != nil || err2 != nil || !open.Mode().IsRegular() || !os.SameFile(open, there) {
		return ""
	}
	return path
}

// status reads users and umask. All users must be one: what a set-uid program
// needs cannot be given to it without its file.
func (im *image) status(pid int) error {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return fmt.Errorf("read status of process %d: %w", pid, err)
	}
	var errs []error
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case len(f) == 5 && f[0] == "Uid:":
			errs = append(errs, one(f[1:], &im.UID))
		case len(f) == 5 && f[0] == "Gid:":
			errs = append(errs, one(f[1:], &im.GID))
		case f[0] == "Groups:":
			for _, g := range f[1:] {
				n, err := strconv.ParseUint(g, 10, 32)
				im.Groups, errs = append(im.Groups, uint32(n)), append(errs, err)
			}
		case len(f) == 2 && f[0] == "Umask:":
			n, err := strconv.ParseInt(f[1], 8, 32)
			im.Umask, errs = int(n), append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("read status of process %d: %w", pid, err)
	}
	return nil
}

func one(ids []string, into *uint32) error {
	for _, id := range ids[1:] {
		if id != ids[0] {
			return fmt.Errorf("it runs with the ids %s at once, a set-uid program: %w", strings.Join(ids, ", "), inject.ErrUnsupported)
		}
	}
	n, err := strconv.ParseUint(ids[0], 10, 32)
	*into = uint32(n)
	return err
}

// usable refuses to start a server by what is not its command line, and with what
// is not its program.
func (im image) usable(t target.Target, w twin) error {
	if len(im.Argv) == 0 || w.Rewritten {
		return fmt.Errorf("process %d (%s) has written over its command line, which says %.60q; name the command that starts it (restart): %w",
			t.PID, t.Comm, strings.Join(im.Argv, " "), inject.ErrUnsupported)
	}
	if _, err := inject.FindProgram(im.Exe); err != nil {
		return fmt.Errorf("process %d (%s) could not be started again: %w", t.PID, t.Comm, err)
	}
	return nil
}
