package history

import "time"

// unknownTTL: no event says how long the lease is, so nothing is certain after the
// call that proves it. 0 means that there is no lease, as in Grant.
const unknownTTL time.Duration = -1

// party is what the events say so far about one client process and one key.
//
// What is certain follows from three rules. A grant lasts until its lease may be
// over (counted from the invoke of the last ok acquire or renew) or something may
// have ended it: a release called, a loss noticed. An ok renew, and an ok release
// of an owner-checking client, prove that it had lasted until their call, whatever
// might have ended it before. But a party with an unanswered acquire may have got
// the lock a second time by it, at any time since, so that such a proof shows a
// hold, and not that it is still the same one.
type party struct {
	id    int32
	actor string
	key   string
	owner bool // an ok release is a proof
	// session: without a lease, nothing says how long a hold lasts.
	session bool
	emit    func(Hold)

	open             bool // cur is not over yet
	cur              Hold
	call, answer     time.Duration // of the acquire (or renew) that cur began with
	ttl              time.Duration
	lease, leaseFrom time.Duration // the lease lasts at least until lease

	// doubt is when something first may have ended the hold; Forever: nothing.
	doubt    time.Duration
	doubtSeq int
	// lastEnd is the latest call of a release, or loss noticed.
	lastEnd time.Duration
	// released is when the last ok release was answered.
	released time.Duration
	// unanswered: an acquire of unknown outcome was sent.
	unanswered bool
}

// acquired takes in an ok acquire. A party that acquires while it certainly holds is
// granted its own lock again: that is one hold, without an instant between.
func (p *party) acquired(invoke, done *Event) {
	first, again := p.cur, p.open && min(p.lease, p.doubt) > done.At
	if !again {
		p.finish(min(done.At, p.leaseEnd(invoke.At, done)), done.Seq)
	}
	p.doubt, p.doubtSeq = Forever, 0
	if p.lastEnd > invoke.At {
		// Called before the grant was known, it may have ended this very grant.
		p.doubt = p.lastEnd
	}
	p.begin(invoke.At, done)
	if again {
		p.cur.From, p.cur.Acquired, p.cur.Renewed = first.From, first.Acquired, done.Seq
	}
}

// begin opens a hold with a grant: an ok acquire, or an ok renew that proves one.
func (p *party) begin(call time.Duration, done *Event) {
	p.open = true
	p.cur = Hold{
		Key: p.key, Actor: p.actor, Trial: done.Trial,
		Kind: Certain, From: done.At, Acquired: done.Seq, party: p.id,
	}
	if done.Grant != nil {
		p.cur.Token = done.Grant.Token
	}
	if done.Op == OpAcquire {
		p.ttl = p.granted(done)
	}
	p.call, p.answer = call, done.At
	p.lease, p.leaseFrom = p.leaseEnd(call, done), call
}

func (p *party) granted(acquired *Event) time.Duration {
	if acquired.Grant == nil || p.session && acquired.Grant.TTL == 0 {
		return unknownTTL
	}
	return acquired.Grant.TTL
}

// leaseEnd is how long a lease that an ok acquire or renew set surely lasts. A
// renewal that does not say keeps the length granted with the lock.
func (p *party) leaseEnd(call time.Duration, done *Event) time.Duration {
	ttl := p.ttl
	switch {
	case done.Op == OpAcquire:
		ttl = p.granted(done)
	case done.Grant != nil && done.Grant.TTL > 0:
		ttl = done.Grant.TTL
	}
	switch {
	case ttl == 0:
		return Forever
	case ttl < 0:
		return call
	}
	return after(call, ttl)
}

// renewed takes in an ok renew; call is when it had certainly not been sent yet.
func (p *party) renewed(call time.Duration, done *Event) {
	switch {
	case !p.open && call < p.released, p.open && call < p.call:
		return // news of an earlier hold that arrives late
	case !p.open && p.doubt == Forever:
		p.begin(call, done)
		return
	case !p.open:
		p.point(call, done)
		return
	case p.unanswered && p.doubt < call:
		p.finish(Forever, 0)
		p.point(call, done)
		return
	case p.unanswered && p.lease <= done.At:
		token := p.cur.Token
		p.finish(p.leaseEnd(call, done), done.Seq)
		p.begin(call, done)
		if p.cur.Token.IsZero() {
			p.cur.Token = token
		}
		return
	}
	// What raised the doubt may still be under way and end the hold from now on.
	p.doubt = max(p.doubt, call)
	if call >= p.leaseFrom {
		p.lease, p.leaseFrom = p.leaseEnd(call, done), call
		p.cur.Renewed = done.Seq
	}
}

// releasing takes in an ok release.
func (p *party) releasing(invoke, done *Event) {
	p.lastEnd = max(p.lastEnd, invoke.At)
	p.released = max(p.released, done.At)
	lapsed := !p.open || p.lease < invoke.At || p.doubt < invoke.At
	if p.owner && lapsed {
		if p.open && !p.unanswered {
			p.lease, p.doubt = invoke.At, invoke.At
		} else {
			p.finish(invoke.At, invoke.Seq)
			p.point(invoke.At, done)
		}
	}
	p.finish(invoke.At, done.Seq)
}

// doubted takes in what may have ended the hold at the time given.
func (p *party) doubted(at time.Duration, seq int) {
	p.lastEnd = max(p.lastEnd, at)
	if at < p.doubt {
		p.doubt, p.doubtSeq = at, seq
	}
}

// finish closes the open hold, at the latest at the time given.
func (p *party) finish(at time.Duration, seq int) {
	if !p.open {
		return
	}
	p.open = false
	h := p.cur
	h.To, h.Ended = at, seq
	if p.doubt < h.To {
		h.To, h.Ended = p.doubt, p.doubtSeq
	}
	if p.lease < h.To {
		h.To, h.Ended = p.lease, 0
	}
	if h.To <= h.From {
		// Over before the answer came, perhaps: granted within the call, and kept
		// until To if granted before.
		h.Kind, h.From, h.To = Point, max(p.call, h.To), p.answer
	}
	p.emit(h)
}

// point reports a proof that the lock was held at one instant within the call.
func (p *party) point(call time.Duration, done *Event) {
	p.emit(Hold{
		Key: p.key, Actor: p.actor, Trial: done.Trial,
		Kind: Point, From: call, To: done.At, Acquired: done.Seq, party: p.id,
	})
}
