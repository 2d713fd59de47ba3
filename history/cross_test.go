package history

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// sample is how many histories the cross-check compares.
func sample() int {
	if testing.Short() || raceEnabled {
		return 5_000
	}
	return 100_000
}

func broken(events []Event, o Options) bool { return len(DoubleGrants(events, o)) > 0 }

func text(events []Event) string {
	var out bytes.Buffer
	for _, e := range events {
		if err := Encode(&out, e); err != nil {
			return err.Error()
		}
	}
	return out.String()
}

func TestCheckAgreesWithPorcupine(t *testing.T) {
	t.Parallel()
	var ok, illegal int
	for seed := range uint64(sample()) {
		events, ownerCheck := simulate(seed)
		want := porcupine.CheckOperations(lockModel(ownerCheck), modelOps(events))
		got := broken(events, Options{OwnerCheck: ownerCheck})
		if got != !want {
			t.Fatalf("seed %d (owner check %v): double grant %v, porcupine says linearizable %v\n%s",
				seed, ownerCheck, got, want, text(events))
		}
		if want {
			ok++
		} else {
			illegal++
		}
	}
	t.Logf("%d histories without and %d with a double grant, no disagreement", ok, illegal)
	if illegal < sample()/50 || ok < sample()/50 {
		t.Fatalf("%d sound and %d broken histories: too one-sided to show anything", ok, illegal)
	}
}

// A check that gets one thing wrong must be caught by the same comparison.
func TestMutantsAreCaught(t *testing.T) {
	t.Parallel()
	type history struct {
		events []Event
		o      Options
		sound  bool
	}
	histories := make([]history, 5_000)
	for seed := range histories {
		events, ownerCheck := simulate(uint64(seed))
		sound := porcupine.CheckOperations(lockModel(ownerCheck), modelOps(events))
		histories[seed] = history{events, Options{OwnerCheck: ownerCheck}, sound}
	}
	for name, mutant := range mutants() {
		caught := 0
		for _, h := range histories {
			if mutant(slices.Clone(h.events), h.o) != !h.sound {
				caught++
			}
		}
		t.Logf("%s: caught by %d of %d histories", name, caught, len(histories))
		if caught == 0 {
			t.Errorf("%s: not noticed", name)
		}
	}
}

// mutants answer "is it broken?" wrongly. Most are the check on a history in which
// the mutant does not see something, or sees it at the wrong time.
func mutants() map[string]func([]Event, Options) bool {
	blind := func(to func(e Event, outcome Type) bool) func([]Event, Options) bool {
		return func(events []Event, o Options) bool {
			p := pair(events)
			var seen []Event
			for i, e := range events {
				outcome := e.Type
				if outcome == Invoke {
					outcome = Info
					if d := p.done[i]; d >= 0 {
						outcome = events[d].Type
					}
				}
				if !to(e, outcome) {
					seen = append(seen, e)
				}
			}
			return broken(seen, o)
		}
	}
	moved := func(op Op, invoke bool) func([]Event, Options) bool {
		return func(events []Event, o Options) bool {
			p := pair(events)
			for i := range events {
				if at := p.invoke[i]; at >= 0 && events[i].Op == op && events[i].Type == OK {
					if invoke {
						events[at].At = events[i].At
					} else {
						events[i].At = events[at].At
					}
				}
			}
			return broken(events, o)
		}
	}
	kinds := func(keep HoldKind) func([]Event, Options) bool {
		return func(events []Event, o Options) bool {
			holds := slices.DeleteFunc(Holds(events, o), func(h Hold) bool { return h.Kind != keep })
			return len(doubleGrants(holds, covers)) > 0
		}
	}
	return map[string]func([]Event, Options) bool{
		"equal timestamps overlap": func(events []Event, o Options) bool {
			return len(doubleGrants(Holds(events, o), func(to, at time.Duration) bool { return to >= at })) > 0
		},
		"renewals do not count":              blind(func(e Event, _ Type) bool { return e.Op == OpRenew }),
		"unsolicited renewals do not count":  blind(func(e Event, _ Type) bool { return e.Op == OpRenew && e.Call == 0 && e.Type == OK }),
		"unanswered releases do not count":   blind(func(e Event, outcome Type) bool { return e.Op == OpRelease && outcome == Info }),
		"releases that lost do not count":    blind(func(e Event, outcome Type) bool { return e.Op == OpRelease && outcome == Fail }),
		"unanswered acquires do not count":   blind(func(e Event, outcome Type) bool { return e.Op == OpAcquire && outcome == Info }),
		"notices of loss do not count":       blind(func(e Event, _ Type) bool { return e.Op == OpLost }),
		"held from the call of the acquire":  moved(OpAcquire, false),
		"lease from the answer of acquire":   moved(OpAcquire, true),
		"lease from the answer of the renew": moved(OpRenew, true),
		"held until the release is answered": moved(OpRelease, true),
		"leases never end": func(events []Event, o Options) bool {
			for i := range events {
				if g := events[i].Grant; g != nil {
					events[i].Grant = &Grant{Since: g.Since}
				}
			}
			return broken(events, o)
		},
		"points are left out": kinds(Certain),
		"every client is owner-checking": func(events []Event, o Options) bool {
			return broken(events, Options{OwnerCheck: true})
		},
		"no client is owner-checking": func(events []Event, o Options) bool {
			return broken(events, Options{})
		},
	}
}
