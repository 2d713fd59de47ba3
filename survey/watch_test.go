package survey

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// lookAt tells a watch of a key for as long as life says, every 200 ms.
func lookAt(w *Watch, key, owner string, life func(at time.Duration) time.Duration) {
	for at := time.Duration(0); at < 10*time.Second; at += 200 * time.Millisecond {
		left := life(at)
		w.See(Sighting{Key: key, At: start.Add(at), Kind: "string", Owner: owner, Left: left, Leased: left > 0})
	}
}

// renewed has a lease that begins anew every so often; ended one that only runs out.
func renewed(lease, every time.Duration) func(time.Duration) time.Duration {
	return func(at time.Duration) time.Duration { return lease - at%every }
}

func ending(left time.Duration) func(time.Duration) time.Duration {
	return func(at time.Duration) time.Duration { return left - at }
}

const uuid = "3b2f2a6e-7c8a-4c5c-9f26-0fbd4b8a3a8b"

func TestRenewalsAndLease(t *testing.T) {
	for _, tt := range []struct {
		name     string
		life     func(time.Duration) time.Duration
		lease    time.Duration
		exact    bool
		renewals int
		every    time.Duration
	}{
		{"renewed every third", renewed(6*time.Second, 2*time.Second), 6 * time.Second, true, 4, 2 * time.Second},
		{"renewed once: a renewal gives all of it back", renewed(30*time.Second, 9*time.Second), 30 * time.Second, true, 1, 8800 * time.Millisecond},
		{"not renewed", ending(25300 * time.Millisecond), 25500 * time.Millisecond, false, 0, 0},
		{"without a lease", func(time.Duration) time.Duration { return 0 }, 0, false, 0, 0},
	} {
		w := &Watch{}
		lookAt(w, "order-lock", uuid, tt.life)
		g := w.Groups()
		if len(g) != 1 || g[0].Lease != tt.lease || g[0].Exact != tt.exact || g[0].Renewals != tt.renewals || g[0].Every != tt.every {
			t.Errorf("%s: %+v", tt.name, g)
		}
	}
}

// TestCoarseLeases: a service that tells whole seconds grants 10 s, renewed every 3.3 s.
func TestCoarseLeases(t *testing.T) {
	w := &Watch{Coarse: time.Second}
	for at := time.Duration(0); at < 10*time.Second; at += 250 * time.Millisecond {
		left := (10*time.Second - at%(3300*time.Millisecond)).Truncate(time.Second)
		w.See(Sighting{Key: "k", At: start.Add(at), Owner: "a", Left: left, Leased: true, Granted: 10 * time.Second, Certain: "built so"})
	}
	g := w.Groups()[0]
	if g.Lease != 10*time.Second || !g.Exact || g.Renewals < 2 || g.Every < 3*time.Second || g.Every > 3600*time.Millisecond {
		t.Errorf("%+v", g)
	}
	// A lease of one second is never seen to be renewed, but it outlives itself.
	w = &Watch{Coarse: time.Second}
	for at := time.Duration(0); at < 5*time.Second; at += 250 * time.Millisecond {
		w.See(Sighting{Key: "k", At: start.Add(at), Owner: "a", Leased: true, Granted: time.Second, Certain: "built so"})
	}
	if g := w.Groups()[0]; g.Renewals != 1 || !slices.Contains(g.Why, "it outlived its lease, so it is renewed") {
		t.Errorf("%+v", g)
	}
}

func TestLocksAreToldFromTheRest(t *testing.T) {
	w := &Watch{}
	locks := map[string]string{
		"/locks/billing": "app-1:4711", "mutex:report": "anything", "jobs": uuid, "leaderElection": "worker",
		"redisson": uuid + ":12", "invoice-run": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
	}
	for key, owner := range locks {
		lookAt(w, key, owner, ending(30*time.Second))
	}
	for key, value := range map[string]string{
		"cache:1": `{"user":1}`, "counter": "4711", "page": "<html>", "blocked-users": "x", "clock": "12:00",
		"long-lock-of-a-document": string(make([]byte, MaxValue)),
	} {
		lookAt(w, key, value, ending(30*time.Second))
	}
	lookAt(w, "token", uuid, func(time.Duration) time.Duration { return 0 }) // kept for ever, and not named as a lock
	var got []string
	for _, g := range w.Groups() {
		got = append(got, g.Key)
		if _, ok := locks[g.Key]; !ok {
			t.Errorf("%s is taken for a lock: %v", g.Key, g.Why)
		}
	}
	if len(got) != len(locks) {
		t.Errorf("locks found: %q, want all of %v", got, locks)
	}
}

// TestOwnersTakeTurns: a lock that changes hands is more than a value that is kept.
func TestOwnersTakeTurns(t *testing.T) {
	w := &Watch{}
	for i := range 20 {
		at := time.Duration(i) * 500 * time.Millisecond
		w.See(Sighting{Key: "jobs", At: start.Add(at), Kind: "string", Owner: fmt.Sprintf("app-%d:1", i/5), Left: 2500*time.Millisecond - at%(2500*time.Millisecond), Leased: true})
	}
	g := w.Groups()
	if len(g) != 1 || g[0].Owners != 4 || g[0].Renewals != 0 || g[0].Lease != 2500*time.Millisecond || !g[0].Exact {
		t.Errorf("%+v", g)
	}
}

// TestAcquiredAgainIsNotRenewed: a job that takes its lock every 2 s for 1.5 s, under
// one name, renews nothing; neither does one whose lease may have ended between two looks.
func TestAcquiredAgainIsNotRenewed(t *testing.T) {
	for name, c := range map[string]struct{ lease, free time.Duration }{
		"given back early, seen free":    {10 * time.Second, 500 * time.Millisecond},
		"ended by itself, never seen so": {2 * time.Second, 0},
	} {
		w := &Watch{}
		for at := time.Duration(0); at < 10*time.Second; at += 200 * time.Millisecond {
			if left := c.lease - at%(2*time.Second); at%(2*time.Second) < 2*time.Second-c.free {
				w.See(Sighting{Key: "the-lock", At: start.Add(at), Owner: "app-1:1", Left: left, Leased: true})
			} else {
				w.Free("the-lock")
			}
		}
		if g := w.Groups()[0]; g.Renewals != 0 || g.Every != 0 {
			t.Errorf("%s: %+v", name, g)
		}
	}
}

func TestAlikeNamesAreOneGroup(t *testing.T) {
	w := &Watch{}
	for _, key := range []string{"lock:order:1", "lock:order:22", "lock:tenant:anna", "lock:tenant:ben", "lock:tenant:cem", "lock:tenant:dora", "lock:report"} {
		lookAt(w, key, uuid, ending(30*time.Second))
	}
	var got []string
	for _, g := range w.Groups() {
		got = append(got, fmt.Sprintf("%s %d", g.Pattern, g.Keys))
	}
	slices.Sort(got)
	if want := []string{"lock:order:* 2", "lock:report 1", "lock:tenant:* 4"}; !slices.Equal(got, want) {
		t.Errorf("groups %q, want %q", got, want)
	}
}

// TestCandidatesAreFew: whatever there is, no more than a hundred keys are watched.
func TestCandidatesAreFew(t *testing.T) {
	w := &Watch{}
	for i := range 1000 {
		w.See(Sighting{Key: fmt.Sprintf("session:%d", i), At: start, Owner: "x", Left: time.Second, Leased: true})
	}
	w.See(Sighting{Key: "the-lock", At: start, Owner: uuid, Left: time.Second, Leased: true})
	got := w.Candidates()
	if len(got) != maxCandidates || got[0] != "the-lock" {
		t.Errorf("%d candidates, the first is %q", len(got), got[0])
	}
}
