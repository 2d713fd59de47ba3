package probes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/history"
)

// The faults that take a lock server away.
const (
	crash = "crash"
	hook  = "hook"
)

// serverLimit bounds one order about a server: a database needs some time to start.
const serverLimit = 40 * time.Second

// outageLimit is the longest that a server may have to be down.
func outageLimit(p Params) time.Duration { return healLimit + p.TTL }

// Outage is one crash, seen from the node of the server.
type Outage struct {
	// AtOnce has the server started again as soon as it is dead; otherwise it stays
	// down until the restart is ordered, or for For.
	AtOnce bool
	For    time.Duration
}

// outages are the servers that a script has taken away. end belongs into a defer,
// so that they come back on every way out; each has its own deadline besides.
type outages struct {
	t    *Trial
	open []openOutage
}

type openOutage struct{ node, target, kind, id string }

// crash kills the lock server on a node.
func (o *outages) crash(ctx context.Context, node string, out Outage) error {
	return o.begin(ctx, openOutage{node: node, target: "the lock server on " + node, kind: crash}, out.For, func(ctx context.Context) (history.Fault, error) {
		return o.t.Stage.Crash(ctx, node, out)
	})
}

// hook runs the user's own commands of that name.
func (o *outages) hook(ctx context.Context, name string, limit time.Duration) error {
	return o.begin(ctx, openOutage{target: name, kind: hook}, limit, func(ctx context.Context) (history.Fault, error) {
		return o.t.Stage.Hook(ctx, name, limit)
	})
}

func (o *outages) begin(ctx context.Context, x openOutage, limit time.Duration, order func(context.Context) (history.Fault, error)) error {
	e := history.Event{Actor: "agent", Node: x.node, Op: history.OpInject, Type: history.Invoke}
	e.Fault = &history.Fault{Kind: x.kind, Node: x.node, Target: x.target, For: limit}
	invoke := o.t.record(e)
	if err := o.t.unrecorded(); err != nil {
		return err
	}
	agentCtx, cancel := context.WithTimeout(ctx, serverLimit)
	defer cancel()
	fault, err := order(agentCtx)
	e.Node = fault.Node
	if e.Node == "" {
		e.Node = x.node
	}
	o.t.record(faultDone(e, invoke, x.target, fault, err))
	if err != nil {
		return fmt.Errorf("%s of %s: %w", x.kind, x.target, err)
	}
	x.node, x.id = fault.Node, fault.ID
	o.open = append(o.open, x)
	return nil
}

// end brings every server back that is still away, also when the audit is being
// stopped, and whatever happens to another one of them.
func (o *outages) end(ctx context.Context) error {
	var errs []error
	for _, x := range o.open {
		errs = append(errs, o.endOne(ctx, x))
	}
	o.open = nil
	return errors.Join(errs...)
}

func (o *outages) endOne(ctx context.Context, x openOutage) error {
	e := history.Event{Actor: "agent", Node: x.node, Op: history.OpRevert, Type: history.Invoke}
	e.Fault = &history.Fault{ID: x.id, Kind: x.kind, Node: x.node, Target: x.target}
	invoke := o.t.record(e)
	agentCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), serverLimit)
	defer cancel()
	fault, err := o.t.Stage.End(agentCtx, x.node, x.kind, x.id)
	o.t.record(faultDone(e, invoke, x.target, fault, err))
	if err != nil {
		return fmt.Errorf("end %s of %s: %w", x.kind, x.target, err)
	}
	return nil
}

// holdAgainst has A acquire the lock, and B see that it is held: a lock that B gets
// only after an outage was forgotten in it. If B gets it at once nothing is left to
// ask, and no server needs to die; held is then false.
func (t *Trial) holdAgainst(ctx context.Context, a, b *party) (held bool, err error) {
	t.step("1 acquire lock on A, B is refused")
	if err := a.acquire(ctx, t.fresh()); err != nil {
		return false, err
	}
	return t.refused(ctx, a, b)
}

// refused has B ask for the lock that A was granted.
func (t *Trial) refused(ctx context.Context, a, b *party) (held bool, err error) {
	granted, err := b.contest(ctx)
	if granted {
		a.release(ctx)
		b.release(ctx)
	}
	return !granted, errors.Join(err, t.unrecorded())
}

// contest asks for the lock until the service says yes or no. It asks often: a
// service that has forgotten a lock gives it to whoever comes first.
func (p *party) contest(ctx context.Context) (granted bool, err error) {
	granted, err = poll(ctx, time.Now().Add(healLimit), func() (bool, error) {
		switch p.attempt(ctx, 0, tryLimit).Type {
		case history.OK:
			return true, nil
		case history.Fail:
			return false, errHeld
		}
		return false, p.t.unrecorded()
	})
	if errors.Is(err, errHeld) {
		return false, nil
	}
	if err == nil && !granted {
		err = fmt.Errorf("client %s asks for the lock: no answer within %s", p.name, healLimit)
	}
	return granted, err
}

// errHeld ends a contest with a definite no.
var errHeld = errors.New("held")

// untilWhole waits until every server of the lock service answers again: taking
// the next one away before would take the majority away.
func (t *Trial) untilWhole(ctx context.Context) error {
	observer, err := t.party(ctx, "observer")
	if err != nil {
		return err
	}
	if err := observer.untilServing(ctx, 2*max(1, len(t.Stage.LockNodes()))); err != nil { // clients ask them in turn
		return err
	}
	return t.everyServer(ctx)
}

// wholeLimit bounds the wait for a server that has to find its place again: a Sentinel
// looks at an old master every ten seconds, and makes it a replica when it has looked
// twice.
const wholeLimit = 2 * healLimit

// everyServer waits until the service says that each of its servers does its work, but
// those that did not before. Servers that replicate answer long before that: an old
// master has to be told first that it is none.
func (t *Trial) everyServer(ctx context.Context) error {
	why := ""
	until := time.Now().Add(wholeLimit)
	t.Progress("waiting for every lock server", until)
	whole, err := poll(ctx, until, func() (bool, error) {
		found, err := t.inspect(ctx)
		if errors.Is(err, errOutcome) {
			why = err.Error()
			return false, nil // it may refuse to answer while a server starts
		}
		if err != nil || found == nil {
			return err == nil, err
		}
		i := slices.IndexFunc(found.Members, func(m facts.Member) bool {
			return m.Err != "" && !slices.Contains(t.sick, m.Endpoint)
		})
		if i >= 0 {
			why = found.Members[i].Endpoint + ": " + found.Members[i].Err
		}
		return i < 0, nil
	})
	if err == nil && !whole {
		err = fmt.Errorf("wait for every lock server: %s", why)
	}
	return err
}
