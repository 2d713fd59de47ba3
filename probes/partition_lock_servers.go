package probes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// partitionLockServers breaks the network between the lock servers in one shape
// after the other, and asks each side for the lock.
func partitionLockServers() Probe {
	return Probe{
		Name:        "partition-lock-servers",
		About:       "the lock servers are parted, A on one side and B on the other: is the lock granted on both?",
		needs:       []need{twoNodes, lockServers(Params.fewestParted)},
		OnLockNodes: true,
		MaxFault:    sidesLimit,
		Demands:     partsInShapes,
		Trials: func(p Params, planned int) int {
			return max(planned, len(shapesOf(p)))
		},
		Explain: func(p Params) []string {
			together := ""
			if p.Majority {
				together = "; a majority always stays together"
			}
			lines := []string{fmt.Sprintf("packets between %s, %s and the lock nodes %v vanish, for at most %s a trial%s", p.NodeA, p.NodeB, p.LockNodes, sidesLimit(p), together)}
			for _, s := range shapesOf(p) {
				lines = append(lines, fmt.Sprintf("%s: %d of %d servers lose links%s", s.name, s.affected(), len(p.LockNodes), s.links(p.LockNodes)))
			}
			if p.Seed != 0 {
				lines = append(lines, "the seed's draw is shown as if the first lock node led; the leader takes its place")
			}
			return append(lines, "while it lasts the lock service may be without a leader for some seconds, for real clients too")
		},
		Trial: partServers,
	}
}

// affected counts the servers that hear less than before.
func (s shape) affected() int {
	n := 0
	for _, from := range s.deaf {
		if len(from) > 0 {
			n++
		}
	}
	return n
}

func partServers(ctx context.Context, t *Trial) (err error) {
	members, _, voters, err := t.ensemble(ctx)
	if err != nil {
		return err
	}
	if err := whole(members, voters, t.fewestParted()); err != nil {
		return err
	}
	if err := t.untilFreeForAll(ctx); err != nil {
		return err
	}
	list := shapesOf(t.Params)
	s := list[(t.Round-1)%len(list)]
	step := "1 part the servers, " + s.words(members)
	// The case names the shape for judges.
	t.record(history.Event{Actor: "probe", Op: history.OpStep, Type: history.Info, Step: step, Case: s.name})
	t.Progress(step, time.Time{})
	cuts := &cuts{t: t}
	defer func() { err = errors.Join(err, cuts.heal(ctx)) }()
	a, b, err := t.takeSides(ctx, cuts, members, s)
	if err != nil {
		return err
	}
	if err := t.part(ctx, cuts, members, s); err != nil {
		return err
	}
	t.step("2 both sides ask for the lock")
	t.compete(ctx, settleLimit, []*party{a, b}, func(*party) {})
	if err := t.unrecorded(); err != nil {
		return err
	}
	return errors.Join(t.rejoin(ctx, cuts, a, b), cuts.parted(a, b))
}

// rejoin heals, waits until the service works again, and leaves the lock free.
func (t *Trial) rejoin(ctx context.Context, cuts *cuts, parties ...*party) error {
	t.step("3 heal")
	if err := cuts.heal(ctx); err != nil {
		return err
	}
	if err := t.servesAgain(ctx); err != nil {
		return err
	}
	for _, p := range parties {
		if !p.hold.Token.IsZero() {
			p.release(ctx)
		}
		// An attempt that was given up may still be under way in it.
		if err := p.kill(ctx); err != nil {
			return err
		}
	}
	return nil
}
