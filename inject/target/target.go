package target

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/inject"
)

// Target is the process that a selector means.
type Target struct {
	inject.Process
	// Comm is the kernel's name for it, cut at 15 bytes.
	Comm    string   `json:"comm"`
	Cmdline []string `json:"cmdline"`
	// Cgroup is its cgroup v2 path as this process sees it, "/system.slice/redis.service";
	// "/" is the root. "" where there is no cgroup v2.
	Cgroup string `json:"cgroup,omitempty"`
	// Unit is the system manager's unit that it runs in, Container its container's
	// id, where known.
	Unit      string `json:"unit,omitempty"`
	Container string `json:"container,omitempty"`
	// Group is the cgroup v2 path of that whole unit or container: Cgroup or one of
	// its parents. "" where there is none.
	Group string `json:"group,omitempty"`
}

// String is one line for people, as candidates are listed.
func (t Target) String() string {
	s := fmt.Sprintf("process %d (%s) started at tick %d", t.PID, t.Comm, t.StartTime)
	if line := strings.Join(t.Cmdline, " "); line != "" {
		s += fmt.Sprintf(": %.100s", strings.Map(printable, line))
	}
	return s
}

func printable(r rune) rune {
	if unprintable(r) {
		return '?'
	}
	return r
}

// Why a process was not found, for callers to decide on.
var (
	// ErrNone: no process is what the selector says.
	ErrNone = errors.New("no such process")
	// ErrAmbiguous: several are. It is an inject.ErrRefused.
	ErrAmbiguous = fmt.Errorf("name one: %w", inject.ErrRefused)
)

// Resolve finds the one process that s means. If several fit, it fails with
// ErrAmbiguous and lists them; if none does, with ErrNone, and if it is a pid that
// no longer lives or lives as another process, with inject.ErrGone.
//
// A process and its forked children of the same name are not several: the topmost
// is meant, as with Redis while it saves, or nginx and its workers. Neither is
// what init only keeps open for a service.
//
// Nothing is said about whether a fault may hit the process: that is the fault's
// own to refuse.
func Resolve(ctx context.Context, s Selector) (Target, error) {
	if err := s.Validate(); err != nil {
		return Target{}, err
	}
	found, err := s.find(ctx)
	if err == nil {
		found = topmost(found)
		switch {
		case len(found) == 0:
			err = ErrNone
		case len(found) > 1:
			err = fmt.Errorf("%d processes fit: %s: %w", len(found), list(found), ErrAmbiguous)
		}
	}
	if err != nil {
		return Target{}, fmt.Errorf("find %v: %w", s, err)
	}
	return found[0].Target, nil
}

// find lists what fits.
func (s Selector) find(ctx context.Context) ([]candidate, error) {
	switch {
	case s.PID != 0:
		c, err := look(s.PID)
		if err == nil && s.StartTime != 0 && c.StartTime != s.StartTime {
			err = fmt.Errorf("it started at tick %d, not %d: %w", c.StartTime, s.StartTime, inject.ErrGone)
		}
		return []candidate{c}, err
	case s.Name != "":
		return all(ctx, func(c candidate) bool { return named(c, s.Name) })
	case !s.Cmdline.IsZero():
		return all(ctx, func(c candidate) bool { return s.Cmdline.matches(c.Cmdline) })
	case s.PIDFile != "":
		return inPIDFile(s.PIDFile)
	case s.Unit != "":
		return inUnit(ctx, unitName(s.Unit))
	case s.Container != "":
		return inContainer(ctx, s.Container)
	case s.Socket != "":
		return onSocket(ctx, s.Socket)
	default:
		return onPort(ctx, s)
	}
}

// named compares the command name. The kernel cuts it at 15 bytes; of a longer
// one the rest is taken from the program's file or first argument.
func named(c candidate, name string) bool {
	const most = 15
	if len(name) <= most {
		return c.Comm == name
	}
	if c.Comm != name[:most] {
		return false
	}
	exe, _ := os.Readlink("/proc/" + strconv.Itoa(c.PID) + "/exe")
	return base(exe) == name || len(c.Cmdline) > 0 && base(c.Cmdline[0]) == name
}

func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// list names the candidates, and says how many there are instead of naming very many.
func list(found []candidate) string {
	const most = 8
	var out []string
	for _, c := range found[:min(most, len(found))] {
		out = append(out, c.String())
	}
	s := strings.Join(out, "; ")
	if len(found) > most {
		s += fmt.Sprintf("; and %d more", len(found)-most)
	}
	return s
}
