package history

import (
	"math/rand/v2"
	"testing"
	"time"
)

func (s *script) write(from, to float64, actor string, token Token, typ Type, code Code, seq uint64) {
	invoke := Event{Actor: actor, Op: OpWrite, Row: "r", Trial: 1, Write: &Write{Token: token, Value: actor}}
	s.call(from, to, invoke, Event{Type: typ, Code: code, Write: &Write{Token: token, Value: actor, Seq: seq}})
}

func TestStaleWrites(t *testing.T) {
	older, newer := OrderedToken(5), OrderedToken(9)
	x, y := Token{ID: "x"}, Token{ID: "y"}
	for name, c := range map[string]struct {
		build func(s *script)
		want  StaleKind
	}{
		"fenced": {func(s *script) {
			s.write(0, 1, "a", older, OK, "", 1)
			s.write(2, 3, "b", newer, OK, "", 2)
			s.write(4, 5, "a", older, Fail, CodeStale, 0)
		}, ""},
		"accepted": {func(s *script) {
			s.write(2, 3, "b", newer, OK, "", 0)
			s.write(4, 5, "a", older, OK, "", 0)
		}, StaleAfter},
		"concurrent, order unknown": {func(s *script) {
			s.write(2, 4, "b", newer, OK, "", 0)
			s.write(4, 5, "a", older, OK, "", 0)
		}, ""},
		"concurrent, order known": {func(s *script) {
			s.write(2, 5, "b", newer, OK, "", 7)
			s.write(3, 4, "a", older, OK, "", 8)
		}, StaleInOrder},
		"concurrent, right order": {func(s *script) {
			s.write(2, 5, "b", newer, OK, "", 8)
			s.write(3, 4, "a", older, OK, "", 7)
		}, ""},
		"newer granted but not written": {func(s *script) {
			s.acquire(0, 1, "b", newer, 0)
			s.write(4, 5, "a", older, OK, "", 0)
		}, ""},
		"equality check": {func(s *script) {
			s.write(0, 1, "a", older, OK, "", 0)
			s.write(2, 3, "b", newer, Fail, CodeStale, 0)
			s.write(4, 5, "a", older, OK, "", 0)
		}, StaleInverted},
		"newer refused for another reason": {func(s *script) {
			s.write(2, 3, "b", newer, Fail, CodeRefused, 0)
			s.write(4, 5, "a", older, OK, "", 0)
		}, ""},
		"newer may have happened": {func(s *script) {
			s.write(2, 3, "b", newer, Info, CodeTimeout, 0)
			s.write(4, 5, "a", older, OK, "", 0)
		}, ""},
		"no numbers, order by grant": {func(s *script) {
			s.acquire(0, 1, "a", x, 0)
			s.acquire(2, 3, "b", y, 0)
			s.write(4, 5, "b", y, OK, "", 0)
			s.write(6, 7, "a", x, OK, "", 0)
		}, StaleAfter},
		"no numbers, grants overlap": {func(s *script) {
			s.acquire(0, 2, "a", x, 0)
			s.acquire(2, 3, "b", y, 0)
			s.write(4, 5, "b", y, OK, "", 0)
			s.write(6, 7, "a", x, OK, "", 0)
		}, ""},
		"no numbers, never granted": {func(s *script) {
			s.write(4, 5, "b", y, OK, "", 0)
			s.write(6, 7, "a", x, OK, "", 0)
		}, ""},
		"same token": {func(s *script) {
			s.write(0, 1, "a", newer, OK, "", 1)
			s.write(2, 3, "b", newer, OK, "", 2)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var s script
			c.build(&s)
			found := StaleWrites(s.events)
			if (len(found) > 0) != (c.want != "") || len(found) > 1 || len(found) > 0 && found[0].Kind != c.want {
				t.Errorf("found %+v, want %q", found, c.want)
			}
		})
	}
}

// The sweep against the definition, pair by pair.
func TestStaleWritesAgreeWithDefinition(t *testing.T) {
	var broken int
	for seed := range uint64(20_000) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var s script
		type sent struct {
			from, to float64
			n        int64
			typ      Type
			seq      uint64
		}
		var writes []sent
		for i := range 2 + rng.IntN(4) {
			from := float64(rng.IntN(12))
			w := sent{from, from + float64(rng.IntN(4)), int64(int(from) + rng.IntN(6)), OK, 0}
			code := Code("")
			switch rng.IntN(4) {
			case 0:
				w.typ, code = Fail, CodeStale
			case 1:
				w.seq = uint64(1 + int(from) + rng.IntN(3))
			}
			writes = append(writes, w)
			s.write(w.from, w.to, string(rune('a'+i)), OrderedToken(w.n), w.typ, code, w.seq)
		}
		want := 0
		for _, w := range writes {
			stale := false
			for _, u := range writes {
				later := u.to < w.from || u.typ == OK && u.seq > 0 && w.seq > u.seq
				stale = stale || w.typ == OK && w.n < u.n && later
			}
			if stale {
				want++
			}
		}
		if found := StaleWrites(s.events); len(found) != want {
			t.Fatalf("seed %d: found %d, by definition %d\n%s", seed, len(found), want, text(s.events))
		}
		if want > 0 {
			broken++
		}
	}
	if broken < 1000 || broken > 19_000 {
		t.Fatalf("%d of 20000 broken: too one-sided to show anything", broken)
	}
}

func TestBelief(t *testing.T) {
	no := false
	pause := &Fault{ID: "f", Kind: "pause", Target: "a"}
	five := func(notice func(s *script)) []Event {
		var s script
		s.acquire(0, 1, "a", OrderedToken(1), 5*time.Second)
		s.add(2, Event{Actor: "agent", Op: OpInject, Type: OK, Fault: pause, Trial: 1})
		s.acquire(6, 7, "b", OrderedToken(2), 5*time.Second)
		s.add(9, Event{Actor: "agent", Op: OpRevert, Type: OK, Fault: pause, Trial: 1})
		notice(&s)
		s.add(20, Event{Actor: "observer", Op: OpObserve, Type: OK, Key: "k", Trial: 1})
		return s.events
	}
	for name, c := range map[string]struct {
		notice func(s *script)
		to     time.Duration
		open   bool
	}{
		"lost notice": {func(s *script) { s.add(12, Event{Actor: "a", Op: OpLost, Type: Info, Key: "k", Trial: 1}) }, 12, false},
		"status": {func(s *script) {
			s.call(11, 13, Event{Actor: "a", Op: OpStatus, Key: "k", Trial: 1}, Event{Type: OK, Holding: &no})
		}, 13, false},
		"stale write":      {func(s *script) { s.write(10, 11, "a", OrderedToken(1), Fail, CodeStale, 0) }, 11, false},
		"own release":      {func(s *script) { s.release(14, 15, "a", Fail, CodeLost) }, 14, false},
		"holder released":  {func(s *script) { s.release(12, 13, "b", OK, "") }, 12, false},
		"never":            {func(*script) {}, 20, true},
		"another's notice": {func(s *script) { s.add(12, Event{Actor: "c", Op: OpLost, Type: Info, Key: "k", Trial: 1}) }, 20, true},
	} {
		t.Run(name, func(t *testing.T) {
			found := Belief(five(c.notice))
			if len(found) != 1 {
				t.Fatalf("%d overlaps, want 1: %+v", len(found), found)
			}
			o := found[0]
			to := c.to * time.Second
			if o.Believer != "a" || o.Holder != "b" || o.From != 7*time.Second || o.To != to || o.Open != c.open {
				t.Errorf("overlap %+v, want from 7s to %v, open %v", o, to, c.open)
			}
			if o.AfterRevert != to-9*time.Second {
				t.Errorf("%v after the revert, want %v", o.AfterRevert, to-9*time.Second)
			}
		})
	}
	var s script
	s.acquire(0, 1, "a", Token{}, time.Second)
	s.release(2, 3, "a", OK, "")
	s.acquire(2.5, 4, "b", Token{}, time.Second)
	if found := Belief(s.events); len(found) > 0 {
		t.Errorf("overlap after a release: %+v", found)
	}
}

func TestCalls(t *testing.T) {
	var s script
	s.acquire(0, 1, "a", OrderedToken(1), 0)
	s.add(2, Event{Actor: "a", Op: OpRelease, Type: Invoke, Key: "k", Trial: 2})
	s.add(3, Event{Actor: "a", Op: OpLost, Type: Info, Key: "k", Trial: 2})
	s.add(4, Event{Actor: "b", Op: OpRelease, Type: OK, Call: 3, Key: "k", Trial: 2}) // another's call
	calls := Calls(s.events)
	if len(calls) != 2 || calls[0].Type() != OK || calls[0].Done.Seq != 2 || calls[1].Done != nil || calls[1].Type() != Info {
		t.Errorf("calls %+v", calls)
	}
	if trials := Trials(s.events); len(trials) != 2 || len(Trial(s.events, 2)) != 3 {
		t.Errorf("trials %v", trials)
	}
}
