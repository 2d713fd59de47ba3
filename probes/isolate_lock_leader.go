package probes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// isolateLockLeader takes the leader's network away while A holds the lock: the
// new leader must know of the lock, and number the next grant higher.
func isolateLockLeader() Probe {
	return Probe{
		Name:        "isolate-lock-leader",
		About:       "the lock service's leader is cut off while A holds: is the lock forgotten, do tokens go back?",
		needs:       []need{lockServers(func(Params) int { return fewestServers })},
		OnLockNodes: true,
		MaxFault:    sidesLimit,
		Demands:     isolatesLeader,
		Explain: func(p Params) []string {
			return []string{
				fmt.Sprintf("packets between the leading one of the lock nodes %v and its peers, %s and %s vanish, for at most %s", p.LockNodes, p.NodeA, p.NodeB, sidesLimit(p)),
				fmt.Sprintf("acquire %s on %s before, and on %s afterwards", p.Key, p.NodeA, p.NodeB),
				"the lock service is without a leader for some seconds, for real clients too",
			}
		},
		Trial: isolateLeader,
	}
}

func isolateLeader(ctx context.Context, t *Trial) (err error) {
	members, leads, voters, err := t.ensemble(ctx)
	if err != nil {
		return err
	}
	if err := whole(members, voters, fewestServers); err != nil {
		return err
	}
	if !leads {
		return fmt.Errorf("%w: no node of the plan could be matched to the lock service's leader", ErrSkip)
	}
	a, err := t.party(ctx, "a")
	if err != nil {
		return err
	}
	t.step("1 acquire lock on A")
	if err := a.acquire(ctx, t.fresh()); err != nil {
		return err
	}
	t.step("2 cut the leader " + members[0].node + " off")
	cuts := &cuts{t: t}
	defer func() { err = errors.Join(err, cuts.heal(ctx)) }()
	if err := t.cutOff(ctx, cuts, members); err != nil {
		return err
	}
	t.step("3 another leader: who holds the lock?")
	observer, b, err := t.afterFailover(ctx, members)
	if err != nil {
		return err
	}
	if _, _, err := observer.look(ctx, true); err != nil {
		return err
	}
	b.tryAcquire(ctx, 0)
	t.step("4 release on A, acquire on B")
	a.release(ctx)
	if b.hold.Token.IsZero() {
		if err := b.acquire(ctx, t.fresh()); err != nil {
			return err
		}
	}
	t.step("5 heal")
	if err := cuts.heal(ctx); err != nil {
		return err
	}
	b.release(ctx)
	if err := t.servesAgain(ctx); err != nil {
		return err
	}
	return a.kill(ctx)
}

// cutOff makes the first member and everybody else deaf to each other.
func (t *Trial) cutOff(ctx context.Context, cuts *cuts, members []member) error {
	deaf := map[string][]string{}
	leader := members[0]
	for _, m := range members[1:] {
		deaf[m.node] = leader.addrs
		deaf[leader.node] = append(deaf[leader.node], m.addrs...)
	}
	for _, node := range []string{t.NodeA, t.NodeB} {
		own, err := t.Stage.Addresses(ctx, node)
		if err != nil {
			return err
		}
		deaf[leader.node] = append(deaf[leader.node], own...)
		deaf[node] = leader.addrs
	}
	return cuts.deafen(ctx, deaf, sidesLimit(t.Params))
}

// afterFailover starts observer and B anew, connected to the servers that are
// left, and waits until one of these leads.
func (t *Trial) afterFailover(ctx context.Context, members []member) (observer, b *party, err error) {
	if observer, err = t.restartCutOff(ctx, "observer"); err != nil {
		return nil, nil, err
	}
	if b, err = t.restartCutOff(ctx, "b"); err != nil {
		return nil, nil, err
	}
	return observer, b, t.anotherLeader(ctx, observer, members)
}

// anotherLeader waits until one of the members but the first leads.
func (t *Trial) anotherLeader(ctx context.Context, observer *party, members []member) error {
	// Reading the members' roles takes as long as the lost one does not answer, so
	// only once the others answer.
	if err := observer.untilServing(ctx, 1); err != nil {
		return err
	}
	t.Progress("waiting for another leader", time.Now().Add(healLimit))
	elected, err := poll(ctx, time.Now().Add(healLimit), func() (bool, error) {
		found, err := t.inspect(ctx)
		if err != nil || found == nil {
			return false, nil // a service without a leader may refuse to answer
		}
		i := leader(members[1:], *found)
		if i < 0 {
			return false, nil
		}
		t.record(history.Event{Actor: "observer", Node: members[1+i].node, Op: history.OpLead, Type: history.Info})
		return true, nil
	})
	if err == nil && !elected {
		err = fmt.Errorf("wait for another leader: none within %s", healLimit)
	}
	return err
}
