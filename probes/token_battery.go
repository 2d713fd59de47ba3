package probes

import (
	"context"
	"fmt"
	"sync"

	"github.com/lockaudit/lockaudit/history"
)

// tokenBattery asks the resource directly which tokens it takes, with tokens
// minted by real grants only: a forged newer one would fence real clients out.
//
//	newest              the holder's own token                  must be accepted
//	equal-same-holder   the same again                          must be accepted
//	equal-other-holder  the holder's token from another client  shows identity checks
//	stale               an earlier holder's token               must be refused
//	missing, malformed  no token, no number                     must be refused
//	never-written-row   a stale token on an untouched row       shows the mark's scope
//	concurrent          stale and newer at the same moment      stale never after newer
func tokenBattery() Probe {
	const rounds = 8
	return Probe{
		Name:  "token-battery",
		About: "writes with newest, equal, stale, missing and malformed tokens: which does the resource refuse?",
		needs: []need{aResource},
		Explain: func(p Params) []string {
			return []string{
				fmt.Sprintf("%d grants of %s, taken in turn by clients a and b on %s", rounds+3, p.Key, p.nodes()),
				fmt.Sprintf("writes to rows under %s of the protected resource", p.Scope),
			}
		},
		Trial: func(ctx context.Context, t *Trial) error {
			a, b, err := t.pair(ctx)
			if err != nil {
				return err
			}
			return battery(ctx, t, a, b, rounds)
		},
	}
}

func battery(ctx context.Context, t *Trial, a, b *party, rounds int) error {
	row := fmt.Sprintf("battery-%d", t.Number)
	t.step("1 A's grant: newest and equal")
	if err := a.acquire(ctx, t.fresh()); err != nil {
		return err
	}
	first := a.hold.Token
	a.write(ctx, entry{row: row, value: "newest-a", kase: "newest", token: first})
	a.write(ctx, entry{row: row, value: "again-a", kase: "equal-same-holder", token: first})
	a.release(ctx)

	t.step("2 B's grant: newest, then A with other tokens")
	if err := b.acquire(ctx, t.fresh()); err != nil {
		return err
	}
	current := b.hold.Token
	b.write(ctx, entry{row: row, value: "newest-b", kase: "newest", token: current})
	a.write(ctx, entry{row: row, value: "borrowed", kase: "equal-other-holder", token: current})
	a.write(ctx, entry{row: row, value: "stale", kase: "stale", token: first})
	a.write(ctx, entry{row: row, value: "missing", kase: "missing"})
	a.write(ctx, entry{row: row, value: "malformed", kase: "malformed", raw: "not-a-token"})
	a.write(ctx, entry{row: fmt.Sprintf("untouched-%d", t.Number), value: "untouched", kase: "never-written-row", token: first})
	b.release(ctx)

	t.step("3 stale and newer at the same moment")
	tokens, err := mint(ctx, t, []*party{a, b}, rounds+1)
	if err != nil {
		return err
	}
	for i := range rounds {
		var both sync.WaitGroup
		both.Go(func() {
			a.write(ctx, entry{row: row, value: fmt.Sprintf("old-%d", i), kase: "concurrent", token: tokens[i]})
		})
		both.Go(func() {
			b.write(ctx, entry{row: row, value: fmt.Sprintf("new-%d", i), kase: "concurrent", token: tokens[i+1]})
		})
		both.Wait()
	}
	return nil
}

// mint collects the tokens of n grants in turn.
func mint(ctx context.Context, t *Trial, parties []*party, n int) ([]history.Token, error) {
	var tokens []history.Token
	for i := range n {
		p := parties[i%len(parties)]
		if err := p.acquire(ctx, t.fresh()); err != nil {
			return nil, err
		}
		tokens = append(tokens, p.hold.Token)
		p.release(ctx)
	}
	return tokens, nil
}
