package probes

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/lockaudit/lockaudit/clients"
)

// delayWriteInFlight is the write that leaves in time and arrives too late: no check
// of the lease by the client, however late, helps against that.
//
// A is cut off from the lock service meanwhile, so that it cannot renew; it runs on.
func delayWriteInFlight() Probe {
	return Probe{
		Name:     "delay-write-in-flight",
		About:    "A's write is sent while A holds, and the network delivers it when B holds: is it refused?",
		needs:    []need{aResource, lockPeers, lockApart},
		MaxFault: leaseLimit,
		Demands: func(p Params) []Demand {
			out := cutsClientA("both", leaseLimit)(p)
			if len(out) == 0 || !p.HasResource {
				return nil
			}
			c := Cut{Peers: p.ResourcePeers, Ports: p.ResourcePorts, Direction: "out", Hold: true, Client: "a", Alone: p.NodeA == p.NodeB}
			return append([]Demand{{Node: p.NodeA, Kind: c.kind(), For: leaseLimit(p), Cut: c}}, out...)
		},
		Explain: func(p Params) []string {
			return []string{
				fmt.Sprintf("packets from %s to the resource (%v, ports %v) are kept back, for at most %s, and delivered when B has written", clientA(p), p.ResourcePeers, p.ResourcePorts, leaseLimit(p)),
				fmt.Sprintf("its packets to and from the lock service (%s) vanish meanwhile", places(p)),
				fmt.Sprintf("acquire %s on %s, let its lease expire (%s), acquire it on %s", p.Key, p.NodeA, p.TTL, p.NodeB),
				fmt.Sprintf("writes of both clients to the row %s of the protected resource; kill -9 of the audit's own lock client a at the end", p.Row("late-N")),
			}
		},
		Trial: delayWrite,
	}
}

func delayWrite(ctx context.Context, t *Trial) (err error) {
	limit := leaseLimit(t.Params)
	cut := t.offLock(limit)
	hold := t.ofA(Cut{Peers: t.ResourcePeers, Ports: t.ResourcePorts, Direction: "out", For: limit, Hold: true})
	a, b, err := t.pair(ctx)
	if err != nil {
		return err
	}
	row := fmt.Sprintf("late-%d", t.Number)
	if err := t.holdAndWrite(ctx, a, row); err != nil {
		return err
	}

	t.step("2 A writes, and the network keeps it")
	holds, cuts := &cuts{t: t}, &cuts{t: t}
	var late clients.Reply
	var written sync.WaitGroup
	defer func() {
		err = errors.Join(err, holds.heal(ctx), cuts.heal(ctx))
		written.Wait()
	}()
	if err := holds.cut(ctx, t.NodeA, "a", hold); err != nil {
		return err
	}
	token := a.hold.Token
	written.Go(func() { // its answer comes after the release, or never
		late = a.write(ctx, entry{row: row, value: "a-late", token: token, limit: limit + callLimit})
	})
	if err := cuts.cut(ctx, t.NodeA, "a", t.ofA(cut)); err != nil {
		return err
	}

	t.step("3 expire lease, acquire on B")
	if err := t.takeOver(ctx, a, b); err != nil {
		return err
	}
	b.read(ctx, row) // that A's write has not arrived
	if err := definite("B's write", b.write(ctx, entry{row: row, value: "b", token: b.hold.Token})); err != nil {
		return err
	}

	t.step("4 A's write arrives")
	if err := holds.heal(ctx); err != nil {
		return err
	}
	written.Wait()
	b.read(ctx, row)
	if holds.lost == 0 {
		return fmt.Errorf("%w: nothing was kept back", ErrPremise)
	}
	if err := definite("A's late write", late); err != nil {
		return err
	}
	if err := cuts.heal(ctx); err != nil {
		return err
	}
	b.release(ctx)
	// Its connections are in the middle of their retransmissions; the next trial is
	// not to be about those.
	return a.kill(ctx)
}
