package swimlane

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// script builds a history of one trial.
type script struct {
	at     time.Duration
	events []history.Event
}

func (s *script) call(after time.Duration, e history.Event) {
	s.at += after
	invoke := e
	invoke.Seq, invoke.At, invoke.Trial, invoke.Type, invoke.Grant = len(s.events)+1, s.at-time.Millisecond, 1, history.Invoke, nil
	e.Seq, e.At, e.Trial, e.Call = invoke.Seq+1, s.at, 1, invoke.Seq
	if e.Type == "" {
		e.Type = history.OK
	}
	s.events = append(s.events, invoke, e)
}

func token(n int64) history.Token { return history.OrderedToken(n) }

func grant(n int64) *history.Grant {
	return &history.Grant{Token: token(n), TTL: 2 * time.Second}
}

// fiveSteps: A is paused beyond its lease, B writes, A writes with its old token.
func fiveSteps() []history.Event {
	s := &script{}
	pause := &history.Fault{ID: "f", Kind: "pause", Node: "n1", Target: "a"}
	write := func(actor string, n int64) history.Event {
		return history.Event{Actor: actor, Op: history.OpWrite, Row: "r", Write: &history.Write{Token: token(n)}}
	}
	s.call(time.Second, history.Event{Actor: "a", Node: "n1", Op: history.OpAcquire, Key: "k", Grant: grant(7)})
	s.call(5*time.Millisecond, write("a", 7))
	s.call(5*time.Millisecond, history.Event{Actor: "agent", Node: "n1", Op: history.OpInject, Fault: pause})
	s.call(2500*time.Millisecond, history.Event{Actor: "b", Node: "n2", Op: history.OpAcquire, Key: "k", Grant: grant(9)})
	s.call(5*time.Millisecond, write("b", 9))
	s.call(5*time.Millisecond, history.Event{Actor: "agent", Node: "n1", Op: history.OpRevert, Fault: pause})
	s.call(5*time.Millisecond, write("a", 7))
	return s.events
}

func TestFiveSteps(t *testing.T) {
	d := New(fiveSteps(), Options{})
	var lanes []string
	for _, l := range d.Wide.Lanes {
		lanes = append(lanes, l.Name.Text)
	}
	if got := strings.Join(lanes, ", "); got != "client A, client B, lock service, resource" {
		t.Errorf("lanes: %s", got)
	}
	var kinds []Kind
	for _, m := range d.Moments {
		kinds = append(kinds, m.Kind)
	}
	want := []Kind{Good, Good, Fault, Expiry, Good, Good, Fault, Stale}
	if !slices.Equal(kinds, want) {
		t.Errorf("moments are %v, want %v", kinds, want)
	}
	if last := d.Wide.Marks[len(d.Wide.Marks)-1]; last.Kind != Stale || last.Label.Text != "7 accepted: stale" {
		t.Errorf("the stale write: %+v", last)
	}
	if len(d.Wide.Shades) != 1 || !strings.HasPrefix(d.Wide.Shades[0].Label.Text, "pause, 2.5 s") {
		t.Errorf("the pause: %+v", d.Wide.Shades)
	}
	bars := map[string]int{}
	for _, b := range d.Wide.Bars {
		bars[b.Kind]++
	}
	if bars[barHold] != 2 || bars[barBelief] != 1 {
		t.Errorf("bars: %v", bars)
	}
	if label := d.Wide.Bars[2].Label.Text; label != "still believes, 15 ms" {
		t.Errorf("the late holder: %q", label)
	}
	// A's hold ends where its lease does, before B's begins.
	if a, b := d.Wide.Bars[0], d.Wide.Bars[1]; a.Lane != 0 || b.Lane != 1 || a.X+a.W >= b.X {
		t.Errorf("holds: %+v %+v", a, b)
	}
}

// TestDoubleGrant: who really holds is not said to be mistaken.
func TestDoubleGrant(t *testing.T) {
	s := &script{}
	s.call(time.Second, history.Event{Actor: "a", Op: history.OpAcquire, Key: "k", Grant: grant(7)})
	s.call(time.Second, history.Event{Actor: "b", Op: history.OpAcquire, Key: "k", Grant: grant(9)})
	s.call(500*time.Millisecond, history.Event{Actor: "a", Op: history.OpRelease, Key: "k"})
	bars := New(s.events, Options{}).Wide.Bars
	if last := bars[len(bars)-1]; last.Kind != barBelief || last.Label.Text != "both hold, 499 ms" {
		t.Errorf("two holders: %+v", last)
	}
}

// TestWindow: a picture is cut to the cited moments.
func TestWindow(t *testing.T) {
	events := fiveSteps()
	d := New(events, Options{From: 8, To: 10})
	if len(d.Moments) != 2 || d.Moments[0].Seq != 8 || d.Moments[1].Seq != 10 {
		t.Errorf("moments: %+v", d.Moments)
	}
	if !New(nil, Options{}).Empty() {
		t.Error("a picture of nothing")
	}
}

// TestLong: of a long history the beginning and the end are drawn, and what is left
// out is counted.
func TestLong(t *testing.T) {
	s := &script{}
	for n := range int64(100) {
		s.call(time.Millisecond, history.Event{Actor: "a", Op: history.OpWrite, Row: "r", Write: &history.Write{Token: token(n)}})
	}
	d := New(s.events, Options{})
	if len(d.Moments) != maxMoments || d.Left != 100-maxMoments {
		t.Errorf("%d moments, %d left out", len(d.Moments), d.Left)
	}
	if first, last := d.Moments[0].Label, d.Moments[maxMoments-1].Label; first != "0 accepted" || last != "99 accepted" {
		t.Errorf("from %q to %q", first, last)
	}
}

// TestAnything: any history gives a picture that is bounded and lies within itself.
func TestAnything(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	ops := []history.Op{
		history.OpAcquire, history.OpRenew, history.OpRelease, history.OpLost, history.OpStatus, history.OpObserve, history.OpWrite, history.OpRead,
		history.OpStart, history.OpKill, history.OpExit, history.OpInject, history.OpRevert, history.OpStep, history.OpMeasure,
	}
	types := []history.Type{history.Invoke, history.OK, history.Fail, history.Info}
	for round := range 2000 {
		var events []history.Event
		at := time.Duration(0)
		for i := range random.IntN(120) {
			at += time.Duration(random.IntN(3)) * time.Duration(random.Int64N(int64(2*time.Second)))
			e := history.Event{
				Seq: i + 1, At: at, Trial: 1, Actor: []string{"a", "b", "", "observer", "agent", "ünïcode"}[random.IntN(6)],
				Op: ops[random.IntN(len(ops))], Type: types[random.IntN(4)], Key: "k", Row: "r", Call: random.IntN(i + 1),
			}
			if random.IntN(2) == 0 {
				e.Grant, e.Write = grant(random.Int64N(9)), &history.Write{Token: token(random.Int64N(9))}
				e.Fault = &history.Fault{ID: fmt.Sprint(random.IntN(3)), Target: "a"}
			}
			events = append(events, e)
		}
		d := New(events, Options{From: random.IntN(10), To: random.IntN(120)})
		if len(d.Moments) > maxMoments {
			t.Fatalf("round %d: %d moments", round, len(d.Moments))
		}
		for _, l := range []Layout{d.Wide, d.Tall} {
			for _, b := range append(slices.Clone(l.Bars), l.Shades...) {
				if b.X < 0 || b.Y < 0 || b.W < 0 || b.H < 0 || b.X+b.W > l.W+5 || b.Y+b.H > l.H+5 {
					t.Fatalf("round %d: %+v outside %v x %v", round, b, l.W, l.H)
				}
			}
			for _, m := range l.Marks {
				if !(m.X >= 0 && m.X <= l.W && m.Y >= 0 && m.Y <= l.H) {
					t.Fatalf("round %d: %+v outside %v x %v", round, m, l.W, l.H)
				}
			}
		}
	}
}

// TestWhatHasNoLane: the auditor's own stall, a measurement and a look at metrics or a
// log are no client's, and an empty lane would puzzle.
func TestWhatHasNoLane(t *testing.T) {
	events := []history.Event{
		{Seq: 1, Actor: "metrics", Op: history.OpSignal, Type: history.Invoke},
		{Seq: 2, Actor: "a", Node: "app-a", Op: history.OpAcquire, Type: history.Invoke},
		{Seq: 3, Actor: "a", Node: "app-a", Op: history.OpAcquire, Type: history.OK, Call: 2, Grant: &history.Grant{}},
		{Seq: 4, Actor: "auditor", Op: history.OpStall, Type: history.Info},
		{Seq: 5, Actor: "agent", Op: history.OpMeasure, Type: history.OK},
	}
	var names []string
	for _, l := range lanesOf(events) {
		names = append(names, l.name)
	}
	if got := strings.Join(names, ", "); got != "client A, lock service" {
		t.Errorf("lanes %q", got)
	}
}

// TestBegan: a fault begins when its node says, if that lies between order and answer,
// and with the answer otherwise: a node's clock may say anything.
func TestBegan(t *testing.T) {
	for began, want := range map[time.Duration]string{
		0: "pause, 2.5 s", 615 * time.Millisecond: "pause, 2.9 s",
		time.Millisecond: "pause, 2.5 s", time.Hour: "pause, 2.5 s",
	} {
		events := fiveSteps()
		for i, e := range events {
			if e.Op == history.OpInject && e.Type == history.Invoke {
				events[i].At = 610 * time.Millisecond
			}
			if e.Op == history.OpInject && e.Type == history.OK {
				f := *e.Fault
				f.Began = began
				events[i].Fault = &f
			}
		}
		slices.SortStableFunc(events, func(a, b history.Event) int { return int(a.At - b.At) })
		d := New(events, Options{})
		if len(d.Wide.Shades) != 1 || !strings.HasPrefix(d.Wide.Shades[0].Label.Text, want) {
			t.Errorf("began %v: %+v, want %s", began, d.Wide.Shades, want)
		}
	}
}
