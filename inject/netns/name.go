// Package netns finds the network namespace that an order means, finds it again
// after a crash, and runs code in it.
//
// A rule that lands in the host's namespace hits the host: whoever opens a socket in
// a namespace checks that it is there.
package netns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target"

	"golang.org/x/sys/unix"
)

// Name names a network namespace: in JSON a path, as /run/netns/a, or the process
// whose it is, as {"pid": 1, "start_time": 2} or {"unit": "billing.service"}. The
// zero value is this process's own.
type Name struct {
	Path string
	Of   target.Selector
}

// UnmarshalJSON takes both forms.
func (n *Name) UnmarshalJSON(b []byte) error {
	*n = Name{}
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &n.Path)
	}
	var err error
	if n.Of, err = target.Parse(b); err != nil {
		return fmt.Errorf("netns: %w", err)
	}
	return nil
}

// MarshalJSON writes the form that was read.
func (n Name) MarshalJSON() ([]byte, error) {
	if !n.Of.IsZero() {
		return json.Marshal(n.Of)
	}
	return json.Marshal(n.Path)
}

// Open opens the namespace that the name means now.
func (n Name) Open(ctx context.Context) (*Namespace, error) {
	var err error
	if n.Of, err = resolved(ctx, n.Of); err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	path := n.Path
	switch {
	case n.Of.PID != 0:
		path = "/proc/" + strconv.Itoa(n.Of.PID) + "/ns/net"
	case path == "":
		path = "/proc/thread-self/ns/net"
	}
	ns, err := open(path)
	if err != nil {
		return nil, err
	}
	ns.Ref.Name = n
	if n.Of.PID == 0 {
		return ns, nil
	}
	// The process lives now, so the path meant it then.
	fd, err := inject.Process{PID: n.Of.PID, StartTime: n.Of.StartTime}.Open()
	if err != nil {
		ns.Close()
		return nil, err
	}
	_ = unix.Close(fd)
	return ns, nil
}

// resolved is the selector of exactly the process that is meant now.
func resolved(ctx context.Context, s target.Selector) (target.Selector, error) {
	switch {
	case s.IsZero(), s.PID != 0 && s.StartTime != 0:
		return s, nil
	case s.PID != 0:
		st, err := inject.ReadStat(s.PID)
		return target.Selector{PID: s.PID, StartTime: st.StartTime}, err
	}
	t, err := target.Resolve(ctx, s)
	return target.Selector{PID: t.PID, StartTime: t.StartTime}, err
}

func open(path string) (*Namespace, error) {
	// A path is from outside: it must not block on a pipe or start a device.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESRCH):
		return nil, fmt.Errorf("open network namespace %s: %w", path, inject.ErrGone)
	case err != nil:
		return nil, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	ns := &Namespace{fd: fd}
	if ns.Ref.Inode, err = inodeOf(fd); err != nil {
		ns.Close()
		return nil, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	return ns, nil
}
