package probes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/locks"
)

// leaseLimit is the longest that a fault may have to last for a lease to end in
// it, and for B to acquire and write.
func leaseLimit(p Params) time.Duration { return p.TTL + leaseSlack(p.TTL) + 2*callLimit }

// partitionHolderPastTTL is the five steps with a partition in the place of the
// pause: A runs on, reaches the resource, and cannot hear that its lease is over.
func partitionHolderPastTTL() Probe {
	return Probe{
		Name:     "partition-holder-past-ttl",
		About:    "A is cut off from the lock service and not from the resource: does it notice, and is its stale write refused?",
		needs:    []need{aResource, lockPeers, lockApart},
		MaxFault: leaseLimit,
		Demands:  cutsClientA("both", leaseLimit),
		Explain: func(p Params) []string {
			return []string{
				fmt.Sprintf("packets between %s and the lock service (%s) vanish, for at most %s; healed as soon as A was watched for a lease", clientA(p), places(p), leaseLimit(p)),
				fmt.Sprintf("acquire %s on %s, let its lease expire (%s), acquire it on %s", p.Key, p.NodeA, p.TTL, p.NodeB),
				fmt.Sprintf("writes of both clients to the row %s of the protected resource; kill -9 of the audit's own lock client a at the end", p.Row("cut-N")),
			}
		},
		Trial: cutHolder,
	}
}

// clientA says whose packets a cut of client A hits.
func clientA(p Params) string {
	alone := "the audit's own lock client a on " + p.NodeA
	if p.NodeA == p.NodeB {
		return alone
	}
	return alone + " (of the whole node, if its agent cannot give the client a control group of its own)"
}

// places names the lock service's addresses for a dry run.
func places(p Params) string {
	if len(p.LockPeers) == 0 {
		return "addresses not known: " + p.PeersUnknown
	}
	return fmt.Sprintf("%v, ports %v", p.LockPeers, p.LockPorts)
}

func cutHolder(ctx context.Context, t *Trial) (err error) {
	cut := t.offLock(leaseLimit(t.Params))
	a, b, err := t.pair(ctx)
	if err != nil {
		return err
	}
	row := fmt.Sprintf("cut-%d", t.Number)
	if err := t.holdAndWrite(ctx, a, row); err != nil {
		return err
	}

	t.step("2 cut A off from the lock service")
	cuts := &cuts{t: t}
	defer func() { err = errors.Join(err, cuts.heal(ctx)) }()
	if err := cuts.cut(ctx, t.NodeA, "a", t.ofA(cut)); err != nil {
		return err
	}

	if a.proc.Can(string(locks.Renew)) {
		// A holder that says nothing loses no packet, and the cut would show nothing.
		a.renew(ctx, t.TTL/4)
	}

	t.step("3 expire lease, acquire on B")
	if err := t.takeOver(ctx, a, b); err != nil {
		return err
	}
	if err := definite("B's write", b.write(ctx, entry{row: row, value: "b", token: b.hold.Token})); err != nil {
		return err
	}

	t.step("4 A, still cut off, writes with its stale token")
	stale := a.write(ctx, entry{row: row, value: "a-stale", token: a.hold.Token})
	b.read(ctx, row)
	if err := errors.Join(a.untilNoticed(ctx), definite("A's stale write", stale)); err != nil {
		return err
	}

	t.step("5 heal, A writes again")
	if err := cuts.heal(ctx); err != nil {
		return err
	}
	a.write(ctx, entry{row: row, value: "a-stale-healed", token: a.hold.Token})
	b.read(ctx, row)
	b.release(ctx)
	// Its connections are in the middle of their retransmissions; the next trial
	// is not to be about those.
	return errors.Join(a.kill(ctx), cuts.bit())
}
