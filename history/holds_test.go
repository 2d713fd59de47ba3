package history

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Histories written by hand: what is in testdata/bad is a double grant, what is in
// testdata/good is none.
func TestKnownHistories(t *testing.T) {
	for kind, want := range map[string]bool{"good": false, "bad": true} {
		files, err := filepath.Glob(filepath.Join("testdata", kind, "*.jsonl"))
		if err != nil || len(files) < 8 {
			t.Fatalf("%d files in testdata/%s: %v", len(files), kind, err)
		}
		for _, file := range files {
			t.Run(kind+"/"+strings.TrimSuffix(filepath.Base(file), ".jsonl"), func(t *testing.T) {
				events := read(t, file)
				if err := Validate(events); err != nil {
					t.Fatal(err)
				}
				found := DoubleGrants(events, Options{OwnerCheck: true})
				if got := len(found) > 0; got != want {
					t.Errorf("double grant %v, want %v: %+v", got, want, found)
				}
				for _, d := range found {
					for _, seq := range d.Seqs() {
						if seq < 1 || seq > len(events) {
							t.Errorf("evidence names event %d of %d", seq, len(events))
						}
					}
				}
			})
		}
	}
}

func read(t *testing.T, file string) []Event {
	t.Helper()
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	events, torn, err := Decode(in)
	if err != nil || torn {
		t.Fatalf("decode %s: torn %v, %v", file, torn, err)
	}
	return events
}

// script builds events from calls with times in seconds.
type script struct{ events []Event }

func (s *script) add(at float64, e Event) int {
	e.Seq, e.At = len(s.events)+1, time.Duration(at*float64(time.Second))
	s.events = append(s.events, e)
	return e.Seq
}

func (s *script) call(from, to float64, invoke, done Event) {
	done.Actor, done.Op, done.Key, done.Row, done.Trial = invoke.Actor, invoke.Op, invoke.Key, invoke.Row, invoke.Trial
	invoke.Type = Invoke
	done.Call = s.add(from, invoke)
	s.add(to, done)
}

func (s *script) acquire(from, to float64, actor string, token Token, ttl time.Duration) {
	s.call(from, to, Event{Actor: actor, Op: OpAcquire, Key: "k", Trial: 1}, Event{Type: OK, Grant: &Grant{Token: token, TTL: ttl}})
}

func (s *script) release(from, to float64, actor string, typ Type, code Code) {
	s.call(from, to, Event{Actor: actor, Op: OpRelease, Key: "k", Trial: 1}, Event{Type: typ, Code: code})
}

func TestHoldCitesItsEvidence(t *testing.T) {
	var s script
	s.acquire(0, 0.1, "a", OrderedToken(7), 10*time.Second)
	s.call(5, 5.1, Event{Actor: "a", Op: OpRenew, Key: "k", Trial: 1}, Event{Type: OK, Grant: &Grant{TTL: 10 * time.Second}})
	s.release(8, 8.1, "a", OK, "")
	s.acquire(9, 9.1, "b", OrderedToken(8), 10*time.Second)
	holds := Holds(s.events, Options{OwnerCheck: true})
	if len(holds) != 2 {
		t.Fatalf("%d holds, want 2: %+v", len(holds), holds)
	}
	a, b := holds[0], holds[1]
	if a.From != 100*time.Millisecond || a.To != 8*time.Second || a.Kind != Certain || a.Token.String() != "7" {
		t.Errorf("hold of a: %+v", a)
	}
	if a.Acquired != 2 || a.Renewed != 4 || a.Ended != 6 {
		t.Errorf("evidence of a: %v", a.Seqs())
	}
	if b.To != 19*time.Second || b.Ended != 0 {
		t.Errorf("hold of b: %+v; its lease runs from the invoke", b)
	}
}

// A filtered history has holes in its numbering; the checks work on it all the same.
func TestFilteredHistory(t *testing.T) {
	events := read(t, filepath.Join("testdata", "bad", "granted_before_expiry.jsonl"))
	for i := range events {
		events[i].Seq *= 3
		events[i].Call *= 3
	}
	if len(DoubleGrants(events, Options{})) != 1 {
		t.Error("the double grant is not found when numbers have holes")
	}
}

// The whole check on anything that can be decoded: no panic, no endless loop.
func FuzzChecks(f *testing.F) {
	for _, kind := range []string{"good", "bad"} {
		files, _ := filepath.Glob(filepath.Join("testdata", kind, "*.jsonl"))
		for _, file := range files {
			if data, err := os.ReadFile(file); err == nil {
				f.Add(string(data), true)
			}
		}
	}
	f.Add(`{"seq":1,"at":-9223372036854775808,"actor":"a","op":"acquire","type":"invoke"}`+"\n"+
		`{"seq":2,"at":9223372036854775807,"actor":"a","op":"acquire","type":"ok","call":1,"grant":{"ttl":9223372036854775807}}`, false)
	f.Add(`{"seq":1,"op":"renew","type":"ok","grant":{"ttl":-1,"since":-1}}`, true)
	f.Fuzz(func(t *testing.T, data string, ownerCheck bool) {
		events, _, _ := Decode(strings.NewReader(data))
		_ = Validate(events)
		for _, h := range Holds(events, Options{OwnerCheck: ownerCheck}) {
			if h.Kind == Certain && h.To <= h.From {
				t.Fatalf("empty core: %+v", h)
			}
		}
		DoubleGrants(events, Options{OwnerCheck: ownerCheck})
		CheckTokens(events)
		StaleWrites(events)
		for _, o := range Belief(events) {
			if o.To <= o.From || o.AfterRevert > o.Duration() {
				t.Fatalf("overlap %+v", o)
			}
		}
	})
}

// TestSessionBound: without a lease nobody knows when the service lets go of a session,
// so that a later grant to another party is none too many; unless the first one proves
// by an ok release that it held all the time.
func TestSessionBound(t *testing.T) {
	var killed script
	killed.acquire(1, 2, "a", Token{ID: "x"}, 0)
	killed.add(3, Event{Actor: "a", Op: OpKill, Type: OK, Trial: 1})
	killed.acquire(4, 5, "b", Token{ID: "y"}, 0)
	var released script
	released.acquire(1, 2, "a", Token{ID: "x"}, 0)
	released.acquire(4, 5, "b", Token{ID: "y"}, 0)
	released.release(6, 7, "a", OK, "")
	for name, c := range map[string]struct {
		events        []Event
		leased, bound int
	}{
		"killed": {killed.events, 1, 0}, "released": {released.events, 1, 1},
	} {
		if n := len(DoubleGrants(c.events, Options{OwnerCheck: true})); n != c.leased {
			t.Errorf("%s: %d double grants of a lock without an end, want %d", name, n, c.leased)
		}
		if n := len(DoubleGrants(c.events, Options{OwnerCheck: true, SessionBound: true})); n != c.bound {
			t.Errorf("%s: %d double grants of a lock bound to a session, want %d", name, n, c.bound)
		}
	}
}
