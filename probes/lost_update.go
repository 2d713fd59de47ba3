package probes

import (
	"context"
	"fmt"
	"strconv"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/history"
)

// lostUpdate is the inventory that is decremented once for two orders: A reads
// under the lock, is paused, and writes what it worked out from a value that B has
// changed since.
func lostUpdate() Probe {
	return Probe{
		Name:     "lost-update",
		About:    "read-modify-write under the lock with a pause in the middle: is another client's increment lost?",
		needs:    []need{aResource},
		MaxFault: leaseLimit,
		Demands:  pausesClient(leaseLimit),
		Explain: func(p Params) []string {
			return []string{
				fmt.Sprintf("a counter in the row %s of the protected resource, incremented once by each client while it holds %s", p.Row("counter-N"), p.Key),
				fmt.Sprintf("SIGSTOP of the audit's own lock client a on %s between its read and its write, for at most %s", p.NodeA, leaseLimit(p)),
			}
		},
		Trial: loseUpdate,
	}
}

func loseUpdate(ctx context.Context, t *Trial) error {
	a, b, err := t.pair(ctx)
	if err != nil {
		return err
	}
	row := fmt.Sprintf("counter-%d", t.Number)
	t.step("1 A acquires and reads the counter")
	if err := a.acquire(ctx, t.fresh()); err != nil {
		return err
	}
	a.write(ctx, entry{row: row, value: "0", token: a.hold.Token})
	before, err := a.counter(ctx, row)
	if err != nil {
		return err
	}
	err = t.overtake(ctx, a, b, leaseLimit(t.Params), "expire lease, B acquires and increments", "resume A, which increments what it had read", func() error {
		read, err := b.counter(ctx, row)
		if err != nil {
			return err
		}
		return definite("B's increment", b.increment(ctx, row, read))
	})
	if err != nil {
		return err
	}
	late := a.increment(ctx, row, before)
	b.read(ctx, row)
	a.release(ctx)
	b.release(ctx)
	return definite("A's late increment", late)
}

// increment writes the value after the one that was read.
func (p *party) increment(ctx context.Context, row string, read int) clients.Reply {
	return p.write(ctx, entry{row: row, value: strconv.Itoa(read + 1), kase: caseIncrement, token: p.hold.Token})
}

// Cases of writes that a judge counts.
const (
	caseIncrement = "increment"
	caseExecution = "execution"
	caseOperation = "operation"
	caseReplay    = "replay"
	caseLate      = "late-replay"
	caseOther     = "other"
)

// counter reads a row that holds a number; a row never written holds 0.
func (p *party) counter(ctx context.Context, row string) (int, error) {
	r := p.read(ctx, row)
	if r.Type != history.OK || r.Answer == nil {
		return 0, outcome("client "+p.name+" reads "+row, r)
	}
	return number(r.Answer)
}

func number(a *clients.Answer) (int, error) {
	if a.Value == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(a.Value)
	if err != nil {
		return 0, fmt.Errorf("read counter: %w", err)
	}
	return n, nil
}
