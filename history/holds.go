package history

import (
	"cmp"
	"slices"
)

// Holds returns what is certain about who held which key and when, in the order in
// which it became known. It tolerates any input; what does not fit is ignored.
//
// A party is one client process: an actor that was killed or is started anew is a
// new one. Each holds at most one grant per key. A kill ends nothing at the lock
// service.
func Holds(events []Event, o Options) []Hold {
	s := scan{events: events, pairs: pair(events), o: o, actors: map[string]*actor{}}
	s.party = make([]*party, len(events))
	for _, i := range byTime(events) {
		s.step(int(i))
	}
	for _, p := range s.all {
		p.finish(Forever, 0)
	}
	return s.holds
}

// byTime returns the indexes of the events in the order of At; equal times stay in
// the order recorded.
func byTime(events []Event) []int32 {
	order := make([]int32, len(events))
	sorted := true
	for i := range order {
		order[i] = int32(i)
		sorted = sorted && (i == 0 || events[i-1].At <= events[i].At)
	}
	if !sorted {
		slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(events[a].At, events[b].At) })
	}
	return order
}

type scan struct {
	events []Event
	pairs  pairs
	o      Options
	actors map[string]*actor
	all    []*party
	party  []*party // of each invoke; the actor may be a new process at the completion
	holds  []Hold
}

// actor is a client process; key to party.
type actor struct{ parties map[string]*party }

func (s *scan) actor(name string) *actor {
	a := s.actors[name]
	if a == nil {
		a = &actor{parties: map[string]*party{}}
		s.actors[name] = a
	}
	return a
}

func (s *scan) partyOf(name, key string) *party {
	a := s.actor(name)
	p := a.parties[key]
	if p == nil {
		p = &party{
			id: int32(len(s.all)), actor: name, key: key, owner: s.o.OwnerCheck, session: s.o.SessionBound,
			ttl: unknownTTL, doubt: Forever, lastEnd: -Forever, released: -Forever,
			emit: func(h Hold) { s.holds = append(s.holds, h) },
		}
		a.parties[key] = p
		s.all = append(s.all, p)
	}
	return p
}

// step takes in one event at its own time: a call that may end a hold counts from
// its invoke, one that grants or proves from its completion.
func (s *scan) step(i int) {
	e := &s.events[i]
	switch e.Op {
	case OpAcquire, OpRenew, OpRelease:
		if e.Type == Invoke {
			s.invoke(i, e)
		} else {
			s.complete(i, e)
		}
	case OpLost:
		if e.Type != Invoke {
			s.lost(e)
		}
	case OpStatus:
		if e.Type == OK && e.Holding != nil && !*e.Holding {
			s.lost(e)
		}
	case OpStart, OpKill:
		if e.Type == OK {
			delete(s.actors, e.Actor)
		}
	}
}

func (s *scan) invoke(i int, e *Event) {
	outcome, key, lost := Info, e.Key, false
	var done *Event
	if d := s.pairs.done[i]; d >= 0 {
		done = &s.events[d]
		outcome, lost = done.Type, done.Type == Fail && done.Code == CodeLost
		if key == "" {
			key = done.Key
		}
	}
	p := s.partyOf(e.Actor, key)
	s.party[i] = p
	unknown := outcome != OK && outcome != Fail
	switch {
	case e.Op == OpAcquire && unknown:
		p.unanswered = true
	case e.Op == OpRelease && outcome == OK:
		p.releasing(e, done)
	case e.Op == OpRelease && unknown, e.Op != OpAcquire && lost:
		p.doubted(e.At, e.Seq)
	}
}

func (s *scan) complete(i int, e *Event) {
	if at := s.pairs.invoke[i]; at >= 0 {
		p := s.party[at]
		if p == nil || e.Type != OK {
			return
		}
		switch e.Op {
		case OpAcquire:
			p.acquired(&s.events[at], e)
		case OpRenew:
			p.renewed(s.events[at].At, e)
		}
		return
	}
	unsolicited := e.Call == 0 && e.Op == OpRenew && e.Type != Fail
	if unsolicited && e.Grant != nil && e.Grant.Since != nil && *e.Grant.Since <= e.At {
		// Without a hold it is the last word of a process that is gone.
		if p := s.partyOf(e.Actor, e.Key); p.open {
			p.renewed(*e.Grant.Since, e)
		}
	}
}

// lost takes in that a client knows that it does not hold; without a key, any key.
func (s *scan) lost(e *Event) {
	if e.Key != "" {
		s.partyOf(e.Actor, e.Key).doubted(e.At, e.Seq)
		return
	}
	for _, p := range s.actor(e.Actor).parties {
		p.doubted(e.At, e.Seq)
	}
}
