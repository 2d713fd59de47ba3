package probes

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// unasked are the lock servers that A does not reach while it acquires: as many as a
// majority can do without. Where clients count votes, a grant by the fewest servers is
// as good as any, and then each of these counts twice: the loss of one of them lets B
// have a majority too.
func (p Params) unasked() []string {
	n := len(p.LockNodes)
	if !p.ClientVotes || n < fewestServers {
		return nil
	}
	return p.LockNodes[n/2+1:]
}

func (p Params) explainFewest() []string {
	if len(p.unasked()) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("what %s sends to %s vanishes while client a acquires, as in a short fault of the network, so that no more than a majority grants",
		p.NodeA, strings.Join(p.unasked(), ", "))}
}

// holdByFewest is holdAgainst with A granted the lock by no more servers than it takes,
// where its clients count them. A is a new process then: what an old connection has sent
// into the cut would arrive after it. Where the nodes cannot be cut, all are asked.
func (t *Trial) holdByFewest(ctx context.Context, a, b *party) (holder *party, held bool, err error) {
	unasked := t.unasked()
	if len(unasked) == 0 {
		held, err = t.holdAgainst(ctx, a, b)
		return a, held, err
	}
	own, err := t.Stage.Addresses(ctx, t.NodeA)
	if err != nil {
		return nil, false, err
	}
	deaf := map[string][]string{}
	for _, node := range unasked {
		deaf[node] = own
	}
	t.step("1 acquire lock on A, which does not reach " + strings.Join(unasked, ", ") + "; B is refused")
	cuts := &cuts{t: t}
	defer func() { err = errors.Join(err, cuts.heal(ctx)) }()
	switch err := cuts.deafen(ctx, deaf, outageLimit(t.Params)); {
	case errors.Is(err, ErrSkip):
		if err := cuts.heal(ctx); err != nil {
			return nil, false, err
		}
		held, err = t.holdAgainst(ctx, a, b)
		return a, held, err
	case err != nil:
		return nil, false, err
	}
	if a, err = t.restartCutOff(ctx, "a"); err != nil {
		return nil, false, err
	}
	if err := a.acquire(ctx, t.fresh()); err != nil {
		return nil, false, err
	}
	if err := cuts.heal(ctx); err != nil {
		return nil, false, err
	}
	held, err = t.refused(ctx, a, b)
	return a, held, err
}
