package history

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// fault is what a simulated lock service does wrong.
type fault int

const (
	correct     fault = iota
	grantsHeld        // grants a lock that is held, now and then
	expiresSoon       // may end a lease before its time
	forgets           // loses its state now and then
	faults
)

// simulation runs a few clients against one lock in small whole units of time, so
// that equal timestamps are frequent. Requests and replies take time and get lost;
// a request whose client gave up may still take effect later.
type simulation struct {
	rng        *rand.Rand
	fault      fault
	ownerCheck bool
	now        time.Duration
	left       int // operations that may still be called
	events     []Event
	clients    []*simClient

	holder *simClient // nil: free
	hold   int        // number of the holder's grant, for owner checks
	expiry time.Duration
	leased bool
	number int
}

type simClient struct {
	name     string
	hold     int  // number of the grant that it believes it has, 0: none
	maybe    bool // it may have one that it was not told of
	ttl      time.Duration
	busy     *simCall
	late     []*simCall    // given up, still under way
	answered time.Duration // when its last operation ended: a client does one at a time
}

type simCall struct {
	op           Op
	seq, hold    int
	ttl          time.Duration
	effect, done time.Duration // when the service acts (-1: never), when the client knows
	acted        bool
	outcome      Type
	lostReply    bool
	granted      int
}

func simulate(seed uint64) (events []Event, ownerCheck bool) {
	rng := rand.New(rand.NewPCG(seed, 1))
	s := &simulation{
		rng: rng, fault: fault(rng.IntN(int(faults))), ownerCheck: rng.IntN(3) > 0, left: 8,
	}
	for i := range 2 + rng.IntN(2) {
		s.clients = append(s.clients, &simClient{name: fmt.Sprintf("c%d", i)})
	}
	for s.now = 1; s.now < 60; s.now++ {
		s.tick()
	}
	slices.SortStableFunc(s.events, func(a, b Event) int { return a.Seq - b.Seq })
	return s.events, s.ownerCheck
}

func (s *simulation) chance(percent int) bool { return s.rng.IntN(100) < percent }

func (s *simulation) record(e Event) int {
	e.Seq, e.At, e.Key = len(s.events)+1, s.now, "k"
	s.events = append(s.events, e)
	return e.Seq
}

// tick lets everything happen that happens now, in random order: what has the same
// timestamp is concurrent.
func (s *simulation) tick() {
	s.expire()
	order := s.rng.Perm(len(s.clients))
	for _, i := range order {
		s.call(s.clients[i])
	}
	s.rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for range 2 {
		for _, i := range order {
			s.effects(s.clients[i])
		}
		s.expire()
	}
	for _, i := range order {
		s.answer(s.clients[i])
		s.notice(s.clients[i])
	}
}

func (s *simulation) expire() {
	if s.holder == nil {
		return
	}
	early := s.fault == expiresSoon && s.chance(10)
	lose := s.fault == forgets && s.chance(6)
	due := s.leased && s.now >= s.expiry && s.chance(60)
	if early || lose || due {
		s.holder = nil
	}
}

func (s *simulation) call(c *simClient) {
	if c.busy != nil || s.left == 0 || s.chance(60) {
		return
	}
	s.left--
	call := &simCall{hold: c.hold, outcome: Info}
	switch {
	case c.hold == 0 && !c.maybe:
		call.op = OpAcquire
	case c.hold == 0:
		call.op = []Op{OpAcquire, OpRelease, OpRelease, OpRenew}[s.rng.IntN(4)]
	default:
		call.op = []Op{OpRenew, OpRelease, OpRelease, OpAcquire}[s.rng.IntN(3+s.rng.IntN(2))]
	}
	if call.op == OpAcquire {
		call.ttl = time.Duration(s.rng.IntN(4)) * 3
	} else if call.ttl = c.ttl; c.hold == 0 {
		call.ttl = time.Duration(1+s.rng.IntN(3)) * 3
	}
	call.effect = s.now + time.Duration(s.rng.IntN(4))
	call.done = call.effect + time.Duration(s.rng.IntN(3))
	switch s.rng.IntN(10) {
	case 0: // the request is lost
		call.effect = -1
	case 1, 2: // the reply is lost, or the client gives up before the request arrives
		call.lostReply = true
		call.done = s.now + time.Duration(s.rng.IntN(5))
		call.effect += time.Duration(s.rng.IntN(8))
	}
	call.seq = s.record(Event{Actor: c.name, Op: call.op, Type: Invoke})
	c.busy = call
}

func (s *simulation) effects(c *simClient) {
	for _, call := range append(slices.Clone(c.late), c.busy) {
		if call != nil && !call.acted && call.effect == s.now {
			call.acted = true
			s.act(c, call)
		}
	}
	idle := c.busy == nil && c.answered < s.now
	if s.holder == c && c.hold == s.hold && c.hold != 0 && idle && s.leased && s.chance(5) {
		s.expiry = s.now + c.ttl // a renewal by itself
		since := max(s.now-time.Duration(s.rng.IntN(3)), c.answered+1)
		c.answered = s.now
		s.record(Event{Actor: c.name, Op: OpRenew, Type: OK, Grant: &Grant{TTL: c.ttl, Since: &since}})
	}
}

// act is the lock service.
func (s *simulation) act(c *simClient, call *simCall) {
	// A client that was never told its grant can only name itself.
	own := s.holder == c && (call.hold == s.hold || call.hold == 0 || c.maybe)
	call.outcome = Fail
	switch call.op {
	case OpAcquire:
		if s.holder != nil && (s.fault != grantsHeld || s.chance(40)) {
			return
		}
		s.number++
		s.holder, s.hold = c, s.number
		call.granted = s.number
		s.lease(call.ttl)
	case OpRenew:
		if !own {
			return
		}
		s.lease(call.ttl)
	case OpRelease:
		if own {
			s.holder = nil
		} else if s.ownerCheck {
			return
		}
	}
	call.outcome = OK
}

func (s *simulation) lease(ttl time.Duration) { s.leased, s.expiry = ttl > 0, s.now+ttl }

func (s *simulation) answer(c *simClient) {
	call := c.busy
	if call == nil || call.done != s.now {
		return
	}
	c.busy, c.answered = nil, s.now
	e := Event{Actor: c.name, Op: call.op, Call: call.seq}
	if call.lostReply || !call.acted {
		c.late = append(c.late, call)
		c.maybe = c.maybe || call.op == OpAcquire
		if e.Type = Info; s.chance(70) { // otherwise the client never even gave up
			s.record(e)
		}
		return
	}
	e.Type = call.outcome
	switch {
	case call.outcome == Fail && call.op == OpAcquire:
		e.Code = CodeHeld
	case call.outcome == Fail:
		e.Code = CodeLost
		c.hold = 0
	case call.op == OpAcquire:
		c.hold, c.ttl = call.granted, call.ttl
		e.Grant = &Grant{TTL: call.ttl}
	case call.op == OpRenew:
		e.Grant = &Grant{TTL: call.ttl}
	case call.op == OpRelease:
		c.hold = 0
	}
	s.record(e)
}

// notice tells a client now and then that its hold is over.
func (s *simulation) notice(c *simClient) {
	if c.hold != 0 && c.busy == nil && (s.holder != c || s.hold != c.hold) && s.chance(10) {
		c.hold = 0
		s.record(Event{Actor: c.name, Op: OpLost, Type: Info})
	}
}
