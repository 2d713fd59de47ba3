package probes

import (
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/history"
)

// recorder keeps events in memory, on a clock of its own.
type recorder struct {
	now    time.Duration
	events []history.Event
}

func (r *recorder) Append(e history.Event) (history.Event, error) {
	if e.At == 0 {
		e.At = r.now
	}
	e.Seq = len(r.events) + 1
	r.events = append(r.events, e)
	return e, nil
}

// seen is an instance, and silent a client, of which nothing is asked here.
type seen struct {
	Instance
	node string
}

func (s seen) Node() string   { return s.node }
func (s seen) ID() string     { return s.node }
func (s seen) String() string { return "process on " + s.node }

type silent struct{ Process }

func (silent) Conn() *clients.Conn { return nil }
func (silent) Node() string        { return "app-b" }

// TestHoldsOfTwoTrialsAreApart: an application whose holds are short is met again in the
// next trial, perhaps in the very hold in which the last one left it. None of that is a
// lock granted twice.
func TestHoldsOfTwoTrialsAreApart(t *testing.T) {
	const second = time.Second
	log := &recorder{}
	meet := func(trial int, node string, s sight) {
		tr := &Trial{Params: Params{RealKey: "k", TTL: 2 * second}, Number: trial, Log: log, Progress: func(string, time.Time) {}}
		o := &observed{t: tr, watch: &holderWatch{t: tr, observer: &party{t: tr, name: "observer", proc: silent{}}}, actors: map[string]string{}}
		log.now = s.heard + second/100
		o.a = seen{node: node}
		o.caught(s)
		log.now += second / 100
		tr.unwatched("a", "b")
	}
	at := func(asked, left time.Duration) sight {
		return sight{held: true, id: "x", left: left, asked: asked, heard: asked + second/500, unseen: asked, began: asked}
	}
	meet(1, "app-a", at(6800*time.Millisecond, 1600*time.Millisecond))
	meet(2, "app-a", at(7400*time.Millisecond, 1900*time.Millisecond)) // its next hold, within the lease of the first
	meet(3, "app-b", at(7500*time.Millisecond, 1800*time.Millisecond)) // what is another process by now
	meet(4, "app-b", at(7600*time.Millisecond, 1700*time.Millisecond)) // the same hold again
	if found := history.DoubleGrants(log.events, history.Options{}); len(found) > 0 {
		t.Errorf("%d double grants, the first of %+v", len(found), found[0])
	}
	holds := history.Holds(log.events, history.Options{})
	if len(holds) != 4 {
		t.Errorf("%d holds, want one a trial: %+v", len(holds), holds)
	}
}
