// Package hook runs a user's own commands as a fault: one that injects, one that
// reverts, and one that checks. It is for what no agent can reach, such as the
// failover of a managed service.
//
// The commands are argument lists; no shell is involved. They run with the rights
// of the guard, so an agent carries them out only if whoever started it said so.
package hook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/inject"
)

// Kind is the word for this fault in an order.
const Kind = "hook"

// Params are the commands. The first word of each is an absolute path or a name
// that is looked up in inject.SearchPath.
type Params struct {
	Inject []string `json:"inject"`
	// Revert undoes Inject. It is run after success, failure and crash of Inject, and
	// it may be run twice and without Inject: it must be idempotent.
	Revert []string `json:"revert"`
	// Check looks, and changes nothing. Exit status 0 means that all is as before.
	Check []string `json:"check,omitempty"`
	// Env is added to the environment: NAME=value.
	Env []string `json:"env,omitempty"`
	// Timeout bounds each command, in nanoseconds: at most half of the order's
	// patience, which is the default.
	Timeout time.Duration `json:"timeout,omitempty"`
}

// Options of a guard.
type Options struct {
	// Commands allows orders to name commands.
	Commands bool
}

// Fault is the hook. The zero value is not ready; use New.
type Fault struct {
	o     Options
	mu    sync.Mutex
	plans map[string]bool // by id: whether the inject command was started
}

// New returns a hook that has run nothing yet.
func New(o Options) *Fault { return &Fault{o: o, plans: map[string]bool{}} }

// Kind is "hook".
func (*Fault) Kind() string { return Kind }

// Support answers yes, and whether orders may name commands.
func (f *Fault) Support() (bool, string) {
	if !f.o.Commands {
		return true, "only by an agent that is started with --allow-commands"
	}
	return true, ""
}

// Prepare checks the commands and runs none.
func (f *Fault) Prepare(_ context.Context, s inject.Spec) (inject.Plan, error) {
	fail := func(err error) (inject.Plan, error) { return inject.Plan{}, fmt.Errorf("prepare hook: %w", err) }
	if s.For <= 0 {
		return fail(fmt.Errorf("a deadline is mandatory, for is %v: %w", s.For, inject.ErrRefused))
	}
	var p Params
	if err := inject.DecodeStrict(s.Params, &p); err != nil {
		return fail(fmt.Errorf("params: %w", err))
	}
	if !f.o.Commands {
		return fail(fmt.Errorf("this agent was started without --allow-commands: %w", inject.ErrRefused))
	}
	if err := p.resolve(s.Patience); err != nil {
		return fail(err)
	}
	plan := inject.Plan{Spec: s}
	var err error
	if plan.BootID, err = inject.BootID(); err != nil {
		return fail(err)
	}
	for _, c := range p.commands() {
		plan.Objects = append(plan.Objects, fmt.Sprintf("%s: execute %q as uid %d, for at most %v", c.role, strings.Join(c.argv, " "), os.Geteuid(), p.Timeout))
	}
	if plan.Undo, err = json.Marshal(p); err != nil {
		return fail(err)
	}
	return plan, nil
}

// resolve refuses commands that could not be run, and replaces the names of the
// others by paths.
func (p *Params) resolve(patience time.Duration) error {
	most := patience / 2 // a revert is followed by a check
	if p.Timeout == 0 {
		p.Timeout = most
	}
	if p.Timeout <= 0 || p.Timeout > most {
		return fmt.Errorf("timeout is %v, and the order's patience of %v allows %v: %w", p.Timeout, patience, most, inject.ErrRefused)
	}
	for _, c := range p.commands() {
		if len(c.argv) == 0 {
			return fmt.Errorf("there is no %s command: %w", c.role, inject.ErrRefused)
		}
		for _, a := range c.argv {
			if strings.Contains(a, "\x00") {
				return fmt.Errorf("%s command: an argument has a zero byte: %w", c.role, inject.ErrRefused)
			}
		}
		path, err := inject.FindProgram(c.argv[0])
		if err != nil {
			return fmt.Errorf("%s command: %w", c.role, err)
		}
		c.argv[0] = path
	}
	return inject.CheckEnv(p.Env)
}

type named struct {
	role string
	argv []string
}

// commands are those that p has or must have.
func (p *Params) commands() []named {
	out := []named{{"inject", p.Inject}, {"revert", p.Revert}}
	if len(p.Check) > 0 {
		out = append(out, named{"check", p.Check})
	}
	return out
}

// Inject runs the inject command. With a check, the state must be sound before:
// otherwise nothing could tell later that it is so again.
func (f *Fault) Inject(ctx context.Context, plan inject.Plan) (inject.Effect, error) {
	fail := func(err error) (inject.Effect, error) { return inject.Effect{}, fmt.Errorf("inject hook: %w", err) }
	p, err := f.begin(plan)
	if err != nil {
		return fail(err)
	}
	if len(p.Check) > 0 {
		if r := p.run(ctx, plan.ID, "check", p.Check); r.err != nil {
			return fail(fmt.Errorf("before anything was done: %w: %w", r, inject.ErrRefused))
		}
	}
	f.mu.Lock()
	f.plans[plan.ID] = true
	f.mu.Unlock()
	since := inject.Now()
	r := p.run(ctx, plan.ID, "inject", p.Inject)
	if r.err != nil {
		return fail(r)
	}
	e := inject.Effect{Seen: r.String(), Count: 1, Since: since}
	if len(p.Check) > 0 {
		e.Seen += "; " + p.run(ctx, plan.ID, "check", p.Check).String()
	}
	return e, nil
}

// begin registers the plan.
func (f *Fault) begin(plan inject.Plan) (Params, error) {
	var p Params
	if err := inject.DecodeStrict(plan.Undo, &p); err != nil {
		return p, fmt.Errorf("decode undo: %w", err)
	}
	if err := plan.SameBoot(); err != nil {
		return p, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, on := f.plans[plan.ID]; on {
		return p, fmt.Errorf("plan %q is in effect: %w", plan.ID, inject.ErrRefused)
	}
	f.plans[plan.ID] = false
	return p, nil
}

// Revert runs the revert command and, where there is one, the check until it says
// that all is as before. Without a check the exit status of the revert is all that
// is known, and the words say so.
func (f *Fault) Revert(ctx context.Context, plan inject.Plan) (inject.Effect, error) {
	fail := func(err error) (inject.Effect, error) { return inject.Effect{}, fmt.Errorf("revert hook: %w", err) }
	var p Params
	if err := inject.DecodeStrict(plan.Undo, &p); err != nil {
		return fail(fmt.Errorf("decode undo: %w", err))
	}
	if len(p.Revert) == 0 {
		return fail(errors.New("decode undo: no revert command"))
	}
	if err := plan.SameBoot(); errors.Is(err, inject.ErrGone) {
		return inject.Effect{Seen: "of an earlier boot: nothing was run"}, nil
	} else if err != nil {
		return fail(err)
	}
	f.mu.Lock()
	started, known := f.plans[plan.ID]
	f.mu.Unlock()
	e := inject.Effect{Seen: "the inject command was not run, so neither was the revert command"}
	if started || !known {
		var err error
		if e, err = p.revert(ctx, plan.ID); err != nil {
			return fail(err)
		}
	}
	f.mu.Lock()
	delete(f.plans, plan.ID)
	f.mu.Unlock()
	return e, nil
}

func (p Params) revert(ctx context.Context, id string) (inject.Effect, error) {
	r := p.run(ctx, id, "revert", p.Revert)
	if r.err != nil {
		return inject.Effect{}, r
	}
	e := inject.Effect{Seen: r.String() + "; there is no check command, so nothing else was looked at", Count: 1}
	if len(p.Check) == 0 {
		return e, nil
	}
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	for {
		c := p.run(ctx, id, "check", p.Check)
		if c.err == nil {
			e.Seen = r.String() + "; " + c.String()
			return e, nil
		}
		select {
		case <-time.After(checkEvery):
		case <-ctx.Done():
			return inject.Effect{}, fmt.Errorf("%s; %w", r.String(), c)
		}
	}
}

// checkEvery is how often a check is repeated while it says no: a failback takes
// seconds, and what is asked may be somebody's API.
const checkEvery = 200 * time.Millisecond
