package probes

import (
	"context"
	"errors"
	"fmt"
)

// doubleExecution is the hourly job: it is due on both sides of a partition, and
// each side runs it if it is granted the lock.
func doubleExecution() Probe {
	return Probe{
		Name:        "double-execution",
		About:       "the hourly job is due on both sides of a partition: does it run twice?",
		needs:       []need{aResource, twoNodes, twoSides},
		OnLockNodes: true,
		MaxFault:    sidesLimit,
		Demands:     partsInTwo,
		Explain: func(p Params) []string {
			cut := fmt.Sprintf("packets between %s and the lock service (%s) vanish, for at most %s", p.NodeA, places(p), sidesLimit(p))
			if len(p.LockNodes) > 1 {
				cut = fmt.Sprintf("the lock nodes %v are parted in two, %s on the smaller side and %s on the other, for at most %s", p.LockNodes, p.NodeA, p.NodeB, sidesLimit(p))
			}
			return []string{
				cut,
				fmt.Sprintf("both try to acquire %s; who gets it runs the job: one write to the row %s", p.Key, p.Row("job-N")),
			}
		},
		Trial: runTwice,
	}
}

// twoSides: a service of one server, or without agents on its nodes, is cut off from A.
func twoSides(p Params) string {
	if len(p.LockNodes) > 1 {
		return ""
	}
	if why := lockPeers(p); why != "" {
		return why
	}
	return lockApart(p)
}

func runTwice(ctx context.Context, t *Trial) (err error) {
	if err := t.untilFreeForAll(ctx); err != nil {
		return err
	}
	cuts := &cuts{t: t}
	defer func() { err = errors.Join(err, cuts.heal(ctx)) }()
	a, b, err := t.breakInTwo(ctx, cuts)
	if err != nil {
		return err
	}
	t.step("2 the job is due on both sides")
	row := fmt.Sprintf("job-%d", t.Number)
	t.compete(ctx, workLimit, []*party{a, b}, func(p *party) {
		p.write(ctx, entry{
			row: row, value: "run by " + p.name, kase: caseExecution, token: p.hold.Token,
			// It is one job, whoever runs it: a resource that knows operations by
			// their id can tell.
			opID: t.Scope + "-" + row,
		})
	})
	b.read(ctx, row)
	if err := t.rejoin(ctx, cuts, a, b); err != nil {
		return err
	}
	if a.hold.Token.IsZero() && b.hold.Token.IsZero() {
		return fmt.Errorf("%w: neither side was granted the lock within %s", ErrPremise, workLimit)
	}
	return cuts.parted(a, b)
}

// untilFreeForAll waits until nothing is left of earlier trials, as A sees the
// service and as the observer on B's node does: they may see two.
func (t *Trial) untilFreeForAll(ctx context.Context) error {
	a, err := t.party(ctx, "a")
	if err != nil {
		return err
	}
	if err := a.untilFree(ctx, t.TTL); err != nil {
		return err
	}
	return t.untilFree(ctx, t.TTL)
}

// breakInTwo parts the lock servers, the smaller part with A and the larger with
// B. A service of one server, or without agents on its nodes, is on B's side.
func (t *Trial) breakInTwo(ctx context.Context, cuts *cuts) (a, b *party, err error) {
	if len(t.Stage.LockNodes()) < 2 {
		cut := t.offLock(sidesLimit(t.Params))
		if a, b, err = t.pair(ctx); err != nil {
			return nil, nil, err
		}
		t.step("1 cut A off from the lock service")
		return a, b, cuts.cut(ctx, t.NodeA, "a", cut)
	}
	members, _, voters, err := t.ensemble(ctx)
	if err != nil {
		return nil, nil, err
	}
	if voters > 1 {
		if err := whole(members, voters, 2); err != nil {
			return nil, nil, err
		}
	}
	s := split("two-sides", len(members), span(0, max(1, (len(members)-1)/2)))
	t.step("1 part the servers, " + s.words(members))
	if a, b, err = t.takeSides(ctx, cuts, members, s); err != nil {
		return nil, nil, err
	}
	return a, b, t.part(ctx, cuts, members, s)
}
