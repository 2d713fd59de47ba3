package history

import (
	"math"

	"github.com/anishathalye/porcupine"
)

// The cross-check asks porcupine, which knows nothing of cores and intervals,
// whether some order of the operations explains a history. Its operations have no
// time, only an order, so what passing time allows becomes operations of its own:
//
//   - expire(k), from the invoke of the ok acquire or renew k plus its TTL on, frees
//     the lock if k is still the one that governs the lease, or does not: the step
//     returns both states. A service may be late with an expiry, never early.
//   - doubt, from the call of a release without an answer, of a renew or release that
//     fails as lost, and from a notice of loss: from now on the lock may be free
//     whenever its party holds it by a grant asked for before that.
//   - unanswered, from the call of an acquire without an answer: from now on its party
//     may hold the lock whenever it is free.
//
// The last two have no end: a request without an answer may be sent several times by
// the client's own library, and take effect late.
//
// Then an ok acquire needs the lock free (or its own), an ok renew needs it held by
// its party, and so does an ok release of an owner-checking client; a release of
// another client frees the lock if it has it. Operations that did not happen say
// nothing: a service may refuse whom it likes.
//
// Why this and the interval check must agree. If cores overlap, one party's grant is
// in force from its answer until the earliest of those operations, and so is the
// other's: no order has both. If none overlap, put each grant at its answer and each
// end at the end of its core; every point has a free instant left, where its party
// gets the lock and loses it at once: that is an order. Both ends of an interval are
// included in porcupine, so equal timestamps are concurrent there too.
//
// The one thing that an order cannot say: when two renewals of one party overlap, the
// later of the two runs at least from the later call, whichever it was. So simulated
// clients do one thing after the other, as the ones of this project do, but for
// notices of renewal, which have one length and need no order.

type modelKind int

const (
	modelAcquire modelKind = iota
	modelUnanswered
	modelRenew
	modelRelease
	modelDoubt
	modelExpire
)

type modelOp struct {
	kind  modelKind
	party int
	id    int // acquire, renew: names the lease; expire: the lease that it ends
	grant int // acquire: its number; others: how many their party has asked for
}

type modelState struct {
	holder     int // 0: free
	lease      int
	grant      int
	unanswered [maxParties + 1]bool
	doubted    [maxParties + 1]int // grants below this one
}

const maxParties = 3

func lockModel(ownerCheck bool) porcupine.Model {
	model := porcupine.NondeterministicModel{
		Init: func() []any { return []any{modelState{}} },
		Step: func(state, input, _ any) []any {
			return modelStep(state.(modelState), input.(modelOp), ownerCheck)
		},
	}
	return model.ToModel()
}

func modelStep(s modelState, op modelOp, ownerCheck bool) []any {
	own := s.holder == op.party
	free := s.holder == 0 || s.grant < s.doubted[s.holder]
	holds := func(holder, lease, grant int) []any {
		next := s
		next.holder, next.lease, next.grant = holder, lease, grant
		return []any{next}
	}
	switch op.kind {
	case modelUnanswered:
		s.unanswered[op.party] = true
		return []any{s}
	case modelDoubt:
		s.doubted[op.party] = op.grant + 1
		return []any{s}
	case modelAcquire:
		if free || own {
			return holds(op.party, op.id, op.grant)
		}
	case modelRenew:
		if own {
			return holds(op.party, op.id, s.grant)
		}
		if free && s.unanswered[op.party] {
			return holds(op.party, op.id, op.grant)
		}
	case modelRelease:
		switch {
		case own, ownerCheck && free && s.unanswered[op.party]:
			return holds(0, 0, 0)
		case !ownerCheck:
			return []any{s}
		}
	case modelExpire:
		if s.holder != 0 && s.lease == op.id {
			return append(holds(0, 0, 0), s)
		}
		return []any{s}
	}
	return nil
}

// modelOps translates a history of one key and clients that do one thing at a time.
func modelOps(events []Event) []porcupine.Operation {
	const never = math.MaxInt64
	var ops []porcupine.Operation
	parties := map[string]int{}
	grants := map[string]int{}
	add := func(actor string, from, to int64, op modelOp) {
		if parties[actor] == 0 {
			parties[actor] = len(parties) + 1
		}
		op.party = parties[actor]
		ops = append(ops, porcupine.Operation{ClientId: op.party, Input: op, Call: from, Return: to})
	}
	lease := func(actor string, from int64, to int64, kind modelKind, e *Event) {
		add(actor, from, to, modelOp{kind: kind, id: e.Seq, grant: grants[actor]})
		if ttl := int64(e.Grant.TTL); ttl > 0 {
			add(actor, from+ttl, never, modelOp{kind: modelExpire, id: e.Seq})
		}
	}
	p := pair(events)
	for i := range events {
		e := &events[i]
		at := int64(e.At)
		if e.Type != Invoke {
			switch {
			case e.Op == OpLost:
				add(e.Actor, at, never, modelOp{kind: modelDoubt, grant: grants[e.Actor]})
			case e.Op == OpRenew && e.Call == 0:
				lease(e.Actor, int64(*e.Grant.Since), at, modelRenew, e)
			}
			continue
		}
		outcome, ret := Info, int64(never)
		var done *Event
		if d := p.done[i]; d >= 0 {
			done = &events[d]
			outcome, ret = done.Type, int64(done.At)
		}
		if e.Op == OpAcquire && outcome == OK {
			grants[e.Actor]++
		}
		switch {
		case e.Op == OpAcquire && outcome == OK:
			lease(e.Actor, at, ret, modelAcquire, done)
		case e.Op == OpAcquire && outcome == Info:
			add(e.Actor, at, never, modelOp{kind: modelUnanswered})
		case e.Op == OpRenew && outcome == OK:
			lease(e.Actor, at, ret, modelRenew, done)
		case e.Op == OpRelease && outcome == OK:
			add(e.Actor, at, ret, modelOp{kind: modelRelease})
		case e.Op == OpRelease && outcome == Info, outcome == Fail && done.Code == CodeLost:
			add(e.Actor, at, never, modelOp{kind: modelDoubt, grant: grants[e.Actor]})
		}
	}
	return ops
}
