package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// Ref finds a network namespace again. The inode number is reused after a namespace
// has gone, the cookie (kernel 5.14) is not before the next boot.
type Ref struct {
	Name   Name   `json:"netns,omitzero"`
	Inode  uint64 `json:"inode"`
	Cookie uint64 `json:"cookie,omitempty"`
}

func (r Ref) String() string {
	switch {
	case r.Name.Of.PID != 0:
		return fmt.Sprintf("of process %d (%d)", r.Name.Of.PID, r.Inode)
	case r.Name.Path != "":
		return fmt.Sprintf("%s (%d)", r.Name.Path, r.Inode)
	default:
		return fmt.Sprintf("of the agent (%d)", r.Inode)
	}
}

// Reopen finds the namespace of a plan again; ErrGone if what is there now is
// another one.
func (r Ref) Reopen() (*Namespace, error) {
	ns, err := r.Name.Open(context.Background())
	if err != nil {
		return nil, err
	}
	if ns.Ref.Inode != r.Inode {
		ns.Close()
		return nil, fmt.Errorf("network namespace %v: another one is in its place: %w", r, inject.ErrGone)
	}
	ns.Ref = r
	return ns, nil
}

// Search finds a plan's namespace under whatever process still lives in it, when
// the name of the order leads there no longer.
func (r Ref) Search() (*Namespace, error) {
	ns, err := r.Reopen()
	if !errors.Is(err, inject.ErrGone) {
		return ns, err
	}
	procs, readErr := os.ReadDir("/proc")
	if readErr != nil {
		return nil, readErr
	}
	for _, p := range procs {
		if _, err := strconv.Atoi(p.Name()); err != nil {
			continue
		}
		path := "/proc/" + p.Name() + "/ns/net"
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil || st.Ino != r.Inode {
			continue
		}
		if ns, err := open(path); err == nil {
			if ns.Ref.Inode == r.Inode {
				ns.Ref = r
				return ns, nil
			}
			ns.Close()
		}
	}
	return nil, err
}
