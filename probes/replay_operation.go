package probes

import (
	"context"
	"fmt"
)

// replayOperation repeats one operation under its identity, as a client does that
// did not hear the answer: at once, and late, after somebody else has written.
func replayOperation() Probe {
	return Probe{
		Name:  "replay-operation",
		About: "the same operation is sent twice: is its effect applied once?",
		needs: []need{aResource},
		Explain: func(p Params) []string {
			return []string{
				fmt.Sprintf("two grants of %s, to clients a and b on %s", p.Key, p.nodes()),
				fmt.Sprintf("writes to the row %s of the protected resource, two of them repeated with the same operation id", p.Row("replay-N")),
			}
		},
		Trial: replay,
	}
}

func replay(ctx context.Context, t *Trial) error {
	a, b, err := t.pair(ctx)
	if err != nil {
		return err
	}
	row := fmt.Sprintf("replay-%d", t.Number)
	t.step("1 A's operation, and the same again")
	if err := a.acquire(ctx, t.fresh()); err != nil {
		return err
	}
	operation := entry{
		row: row, value: "a", kase: caseOperation, token: a.hold.Token,
		opID: fmt.Sprintf("%s-%s-operation", t.Scope, row),
	}
	a.write(ctx, operation)
	a.read(ctx, row)
	operation.kase = caseReplay
	a.write(ctx, operation)
	a.read(ctx, row)
	a.release(ctx)

	t.step("2 B's operation, then A's comes again, late")
	if err := b.acquire(ctx, t.fresh()); err != nil {
		return err
	}
	b.write(ctx, entry{row: row, value: "b", kase: caseOther, token: b.hold.Token})
	b.read(ctx, row)
	operation.kase = caseLate
	a.write(ctx, operation)
	b.read(ctx, row)
	b.release(ctx)
	return nil
}
