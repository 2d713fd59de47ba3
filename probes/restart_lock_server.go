package probes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// restartLockServer kills one lock server after the other while A holds the lock,
// and has each started again at once: what a service keeps only in memory is gone.
func restartLockServer() Probe {
	return Probe{
		Name:        "restart-lock-server",
		About:       "every lock server in turn is killed and started again while A holds: is the lock forgotten, do tokens go back?",
		OnLockNodes: true,
		MaxFault:    outageLimit,
		Demands: func(p Params) (out []Demand) {
			for _, node := range p.unasked() {
				out = append(out, Demand{Together: "unasked", Node: node, Kind: partition, For: outageLimit(p), Cut: Cut{Direction: "in"}, PeerNodes: []string{p.NodeA}})
			}
			for _, node := range p.Killable { // one at a time
				out = append(out, Demand{Together: node, Node: node, Kind: crash, For: outageLimit(p), Down: true})
			}
			return out
		},
		Explain: func(p Params) []string {
			if len(p.Killable) == 0 {
				return []string{"nothing: the plan names the process of no lock server (nodes: process)"}
			}
			return append(p.explainFewest(),
				fmt.Sprintf("kill -9 of the lock server on each of %s, one after the other, the leader last; each is started again at once, and the next one waits until all answer", strings.Join(p.Killable, ", ")),
				fmt.Sprintf("acquire %s on %s before, and on %s after each restart", p.Key, p.NodeA, p.NodeB),
				"real clients lose their connections, and where a single server keeps locks in memory, their locks",
			)
		},
		Trial: restartServers,
	}
}

func restartServers(ctx context.Context, t *Trial) (err error) {
	if len(t.Killable) == 0 {
		return fmt.Errorf("%w: the plan names the process of no lock server (nodes: process)", ErrSkip)
	}
	order, err := t.leaderLast(ctx)
	if err != nil {
		return err
	}
	a, b, err := t.pair(ctx)
	if err != nil {
		return err
	}
	if err := t.untilFree(ctx, t.TTL); err != nil {
		return err
	}
	a, held, err := t.holdByFewest(ctx, a, b)
	if !held || err != nil {
		return err
	}
	down := &outages{t: t}
	defer func() { err = errors.Join(err, down.end(ctx)) }()
	for _, node := range order {
		t.step("2 restart " + node + ", B asks for the lock")
		if err := down.crash(ctx, node, Outage{AtOnce: true, For: outageLimit(t.Params)}); err != nil {
			return err
		}
		granted, err := b.contest(ctx)
		if err != nil {
			return err
		}
		if err := down.end(ctx); err != nil { // it runs already; this looks
			return err
		}
		if granted {
			break
		}
		if err := t.untilWhole(ctx); err != nil {
			return err
		}
	}
	t.step("3 release on A, acquire on B")
	a.release(ctx)
	if b.hold.Token.IsZero() {
		if err := b.acquire(ctx, t.fresh()); err != nil {
			return err
		}
	}
	b.release(ctx)
	return t.untilWhole(ctx)
}

// leaderLast is the order of the restarts: with the leader last there is one
// election and not one for every server.
func (t *Trial) leaderLast(ctx context.Context) ([]string, error) {
	members, leads, _, err := t.ensemble(ctx)
	if err != nil && !errors.Is(err, ErrSkip) { // nodes that cannot be told apart can still be restarted
		return nil, err
	}
	order := slices.Clone(t.Killable)
	unasked := t.unasked()
	slices.SortStableFunc(order, func(x, y string) int { // those that granted first
		return cmp.Compare(slices.Index(unasked, x), slices.Index(unasked, y))
	})
	if leads {
		if i := slices.Index(order, members[0].node); i >= 0 {
			order = append(slices.Delete(order, i, i+1), members[0].node)
		}
	}
	return order, nil
}
