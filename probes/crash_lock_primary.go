package probes

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// crashLockPrimary kills the lock service's leader while A holds the lock, and
// leaves it down until another one leads.
func crashLockPrimary() Probe {
	return Probe{
		Name:        "crash-lock-primary",
		About:       "the lock service's leader is killed while A holds: is the lock forgotten, do tokens go back?",
		OnLockNodes: true,
		MaxFault:    outageLimit,
		Demands: func(p Params) []Demand {
			switch {
			case p.Failover != "":
				return []Demand{{Node: p.FailoverNode, Kind: hook, For: outageLimit(p)}}
			case len(p.LockNodes) < fewestServers || len(p.Killable) == 0:
				return nil
			}
			// Which server leads is known in the run only.
			return []Demand{{Node: p.Killable[0], Kind: crash, For: outageLimit(p), Down: true}}
		},
		Explain: func(p Params) []string {
			switch {
			case p.Failover != "":
				return []string{
					fmt.Sprintf("the plan's hook failover runs: %s", p.Failover),
					fmt.Sprintf("acquire %s on %s before, and on %s afterwards", p.Key, p.NodeA, p.NodeB),
				}
			case len(p.LockNodes) < fewestServers || len(p.Killable) == 0:
				return []string{fmt.Sprintf("nothing: the plan has agents on %d lock nodes and names the process on %d of them; nobody takes over from a single server", len(p.LockNodes), len(p.Killable))}
			}
			return []string{
				fmt.Sprintf("kill -9 of the lock server on the leading one of %v, if the plan names its process; it is started again once another one leads, after %s at the latest", p.LockNodes, outageLimit(p)),
				fmt.Sprintf("acquire %s on %s before, and on %s afterwards", p.Key, p.NodeA, p.NodeB),
				"the lock service is without a leader for some seconds, for real clients too",
			}
		},
		Trial: crashPrimary,
	}
}

func crashPrimary(ctx context.Context, t *Trial) (err error) {
	if t.Failover != "" {
		return failOver(ctx, t)
	}
	if n := len(t.LockNodes); n < fewestServers {
		return fmt.Errorf("%w: the plan has agents on %d nodes of the lock service, and nobody takes over from a single server; restart-lock-server asks what it forgets", ErrSkip, n)
	}
	members, leads, voters, err := t.ensemble(ctx)
	switch {
	case err != nil:
		return err
	case !leads:
		return fmt.Errorf("%w: no node of the plan could be matched to the lock service's leader", ErrSkip)
	case voters > 0 && voters < fewestServers:
		return fmt.Errorf("%w: the lock service has %d voting servers: without one of them there is no majority", ErrSkip, voters)
	case !slices.Contains(t.Killable, members[0].node):
		return fmt.Errorf("%w: the plan does not name the process of the leader, on node %s", ErrSkip, members[0].node)
	}
	a, b, err := t.pair(ctx)
	if err != nil {
		return err
	}
	observer, err := t.party(ctx, "observer")
	if err != nil {
		return err
	}
	if held, err := t.holdAgainst(ctx, a, b); !held || err != nil {
		return err
	}
	t.step("2 kill the leader " + members[0].node)
	down := &outages{t: t}
	defer func() { err = errors.Join(err, down.end(ctx)) }()
	if err := down.crash(ctx, members[0].node, Outage{For: outageLimit(t.Params)}); err != nil {
		return err
	}
	t.step("3 another leader: who holds the lock?")
	if err := t.anotherLeader(ctx, observer, members); err != nil {
		return err
	}
	if err := takeOver(ctx, observer, a, b); err != nil {
		return err
	}
	t.step("5 start " + members[0].node + " again")
	if err := down.end(ctx); err != nil {
		return err
	}
	b.release(ctx)
	return t.untilWhole(ctx)
}

// takeOver asks the service that has failed over who holds the lock, and hands it
// from A to B.
func takeOver(ctx context.Context, observer, a, b *party) error {
	if _, _, err := observer.look(ctx, true); err != nil {
		return err
	}
	if _, err := b.contest(ctx); err != nil {
		return err
	}
	a.t.step("4 release on A, acquire on B")
	a.release(ctx)
	if b.hold.Token.IsZero() {
		return b.acquire(ctx, a.t.fresh())
	}
	return nil
}

// failOver does the same by the user's own command, for a service on whose nodes
// there is no agent. That it has failed over is the command's word.
func failOver(ctx context.Context, t *Trial) (err error) {
	a, b, err := t.pair(ctx)
	if err != nil {
		return err
	}
	observer, err := t.party(ctx, "observer")
	if err != nil {
		return err
	}
	if held, err := t.holdAgainst(ctx, a, b); !held || err != nil {
		return err
	}
	t.step("2 fail over by the hook")
	down := &outages{t: t}
	defer func() { err = errors.Join(err, down.end(ctx)) }()
	if err := down.hook(ctx, "failover", outageLimit(t.Params)); err != nil {
		return err
	}
	t.step("3 after the failover: who holds the lock?")
	if err := observer.untilServing(ctx, 1); err != nil {
		return err
	}
	if err := takeOver(ctx, observer, a, b); err != nil {
		return err
	}
	t.step("5 revert the hook")
	if err := down.end(ctx); err != nil {
		return err
	}
	b.release(ctx)
	return observer.untilServing(ctx, 1)
}
