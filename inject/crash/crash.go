// Package crash ends a server with SIGKILL and has it started again.
//
// What no kernel undoes needs somebody who is there when everybody else is gone.
// Before the server is killed a standby is started: a process of its own that
// waits for an order, the deadline, or the end of its guard, whichever comes
// first, and then turns into the server by execve. So the server comes back
// although agent and guard were killed or stopped, it is nobody's child who could
// take it along, and there is one way in which it is started, whoever asks for it.
//
// A main process of a systemd service is started by systemd, on the standby's
// request, unless its Restart= does it first.
package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target"

	"golang.org/x/sys/unix"
)

// Kind is the word for this fault in an order.
const Kind = "crash"

// Params name the server, and how it is started again.
type Params struct {
	Target target.Selector `json:"target"`
	// DownFor is how long the server stays down, in nanoseconds: 0 starts it again
	// at once, and the deadline is the longest.
	DownFor time.Duration `json:"down_for,omitempty"`
	// Restart is the command for a server whose own command line cannot be used.
	// Without it the server is started as it was.
	Restart *Restart `json:"restart,omitempty"`
}

// Restart is a command for a server. What is left out is as the server had it.
type Restart struct {
	// Argv[0] is an absolute path, or a name that is looked up in inject.SearchPath.
	Argv []string `json:"argv"`
	// Env replaces the whole environment: NAME=value.
	Env []string `json:"env,omitempty"`
	Dir string   `json:"dir,omitempty"`
	UID *uint32  `json:"uid,omitempty"`
	GID *uint32  `json:"gid,omitempty"`
	// Log is a file to which stdout and stderr are appended; it is opened with the
	// rights of the server.
	Log string `json:"log,omitempty"`
}

// undo is what Revert needs, also in a process that never saw the server alive.
type undo struct {
	Server inject.Process `json:"server"` // as it was killed
	Comm   string         `json:"comm"`
	// Unit is the service that is started by systemd; else Image is executed.
	Unit  string `json:"unit,omitempty"`
	Image image  `json:"image"`
	Twin  twin   `json:"twin"`
}

// Options of a guard.
type Options struct {
	// Commands allows orders to name the restart command. It would run with the
	// rights of the server, so who may start an agent and nothing else could
	// otherwise run anything.
	Commands bool
}

// Fault is the crash. The zero value is not ready; use New.
type Fault struct {
	o     Options
	mu    sync.Mutex
	plans map[string]*held
}

// held is a server that this process has killed, or is about to.
type held struct {
	mu      sync.Mutex
	standby *standby
	killed  time.Duration // 0: not yet
	tick    uint64        // the same, as starts of processes are counted
}

// New returns a crash that holds nothing yet.
func New(o Options) *Fault { return &Fault{o: o, plans: map[string]*held{}} }

// Kind is "crash".
func (*Fault) Kind() string { return Kind }

// Support answers whether this kernel has pidfds (5.3).
func (*Fault) Support() (bool, string) {
	fd, err := unix.PidfdOpen(unix.Getpid(), 0)
	if err != nil {
		return false, fmt.Sprintf("open pidfd: %v; kernel 5.3 or later is needed", err)
	}
	unix.Close(fd)
	return true, ""
}

// Prepare finds the server, refuses what must not be killed or could not be
// started again, and writes down how it runs.
func (f *Fault) Prepare(ctx context.Context, s inject.Spec) (inject.Plan, error) {
	p, err := f.prepare(ctx, s)
	if err != nil {
		return inject.Plan{}, fmt.Errorf("prepare crash: %w", err)
	}
	return p, nil
}

func (f *Fault) prepare(ctx context.Context, s inject.Spec) (inject.Plan, error) {
	if s.For <= 0 {
		return inject.Plan{}, fmt.Errorf("a deadline is mandatory, for is %v: %w", s.For, inject.ErrRefused)
	}
	p, err := f.decode(s)
	if err != nil {
		return inject.Plan{}, fmt.Errorf("params: %w", err)
	}
	boot, err := inject.BootID()
	if err != nil {
		return inject.Plan{}, err
	}
	t, err := target.Resolve(ctx, p.Target)
	if err != nil {
		return inject.Plan{}, err
	}
	if err := killable(t); err != nil {
		return inject.Plan{}, err
	}
	u := undo{Server: t.Process, Comm: t.Comm}
	if u.Twin, err = newTwin(t.Process, p.Target.Port); err != nil {
		return inject.Plan{}, err
	}
	how, err := u.plan(ctx, t, p.Restart)
	if err != nil {
		return inject.Plan{}, err
	}
	plan := inject.Plan{Spec: s, BootID: boot, Objects: []string{
		fmt.Sprintf("process %d (%s) started at tick %d: SIGKILL", t.PID, t.Comm, t.StartTime),
		fmt.Sprintf("%s, %s", how, when(p.DownFor, s.For)),
	}}
	plan.Undo, err = json.Marshal(u)
	return plan, err
}

func when(down, limit time.Duration) string {
	switch {
	case down == 0:
		return "at once"
	case down >= limit:
		return fmt.Sprintf("after %v at the latest", limit)
	}
	return fmt.Sprintf("after %v", down)
}

// decode checks what can be checked without looking at the server.
func (f *Fault) decode(s inject.Spec) (Params, error) {
	var p Params
	if err := inject.DecodeStrict(s.Params, &p); err != nil {
		return p, err
	}
	if p.DownFor < 0 || p.DownFor > s.For {
		return p, fmt.Errorf("down_for is %v, not between 0 and the deadline of %v: %w", p.DownFor, s.For, inject.ErrRefused)
	}
	if p.Restart != nil && !f.o.Commands {
		return p, fmt.Errorf("a restart command is named, and this agent was started without --allow-commands: %w", inject.ErrRefused)
	}
	return p, p.Target.Validate()
}

// killable refuses what must never be killed, and what we may not kill.
func killable(t target.Target) error {
	s, err := inject.ReadStat(t.PID)
	if err != nil {
		return err
	}
	protected, err := inject.NewProtected()
	if err != nil {
		return err
	}
	if err := protected.Refuse(t.PID, s); err != nil {
		return err
	}
	if t.Container != "" {
		return fmt.Errorf("process %d (%s) is in the container %.12s, which its runtime has to start again; a hook can order that: %w",
			t.PID, t.Comm, t.Container, inject.ErrUnsupported)
	}
	return signal(t.Process, 0)
}

// signal signals exactly this process.
func signal(p inject.Process, sig unix.Signal) error {
	fd, err := p.Open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	switch err := unix.PidfdSendSignal(fd, sig, nil, 0); {
	case errors.Is(err, unix.ESRCH):
		return fmt.Errorf("signal process %d: %w", p.PID, inject.ErrGone)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("signal process %d: not permitted, CAP_KILL or the same user is needed: %w", p.PID, inject.ErrUnsupported)
	case err != nil:
		return fmt.Errorf("signal process %d: %w", p.PID, err)
	}
	return nil
}

func decodeUndo(b []byte) (undo, error) {
	var u undo
	if err := inject.DecodeStrict(b, &u); err != nil {
		return undo{}, fmt.Errorf("decode undo: %w", err)
	}
	if u.Server.PID <= 0 || u.Unit == "" && len(u.Image.Argv) == 0 {
		return undo{}, errors.New("decode undo: it names no server, or no way to start it")
	}
	return u, nil
}
