package survey

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"time"
)

// Sighting is one look at one key.
type Sighting struct {
	Key string
	// At is when it was looked at, on one clock for all sightings.
	At   time.Time
	Kind string
	// Owner is the holder's value, at most MaxValue of it.
	Owner string
	// Left is the rest of the lease, Leased whether there is one. Granted is the whole
	// lease where the service tells it; 0: it does not.
	Left    time.Duration
	Leased  bool
	Granted time.Duration
	// Waiting counts those that queue for it.
	Waiting int
	// Certain: the key is built as a lock library of this service builds it.
	Certain string
}

// Watch takes sightings and works out which keys may be locks. Coarse is the
// resolution of the service's leases.
type Watch struct {
	Coarse time.Duration
	keys   map[string]*seen
}

// seen is what is known of one key. Owners are kept as hashes: their values are what
// a lock is released with.
type seen struct {
	Sighting
	first    time.Time // of this owner
	since    time.Time // of any
	owners   map[[sha256.Size]byte]bool
	form     string
	likely   bool
	longest  time.Duration // rest of a lease
	fresh    bool          // longest was seen just after a renewal or a new owner
	renewals []time.Time
	before   time.Duration // the least rest just before a renewal
	waiting  int
}

// See takes one look at a key.
func (w *Watch) See(s Sighting) {
	if w.keys == nil {
		w.keys = map[string]*seen{}
	}
	k := w.keys[s.Key]
	if k == nil {
		k = &seen{since: s.At, owners: map[[sha256.Size]byte]bool{}, before: -1}
		w.keys[s.Key] = k
	}
	sum := sha256.Sum256([]byte(s.Owner))
	switch {
	case len(k.owners) == 0:
		k.first = s.At
	case k.Owner != string(sum[:]), k.Leased && k.Left+w.Coarse <= s.At.Sub(k.At):
		// Another owner, or the same one again: its lease was over between two looks.
		k.first, k.longest, k.fresh = s.At, s.Left, true
	case s.Leased && s.Left > k.Left-s.At.Sub(k.At)+w.Coarse+slack && s.Left > k.Left:
		if k.before < 0 || k.Left < k.before {
			k.before = k.Left
		}
		k.renewals = append(k.renewals, s.At)
		k.fresh = true
	}
	k.owners[sum] = true
	k.form, k.likely = owner(s.Owner)
	k.longest = max(k.longest, s.Left)
	k.waiting = max(k.waiting, s.Waiting)
	s.Owner = string(sum[:])
	k.Sighting = s
}

// Free says that nobody holds a key now: whoever is seen next has acquired it.
func (w *Watch) Free(key string) {
	if k := w.keys[key]; k != nil {
		k.Owner = ""
	}
}

// slack is how much the rest of a lease may seem to grow by how long a look takes.
const slack = 50 * time.Millisecond

// maxCandidates bounds what is watched, and with it the load on the service.
const maxCandidates = 100

// Candidates are the keys that are worth watching, the likeliest first.
func (w *Watch) Candidates() []string {
	var all []*seen
	for _, k := range w.keys {
		if k.score() >= worthWatching {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, likelier)
	var out []string
	for _, k := range all[:min(len(all), maxCandidates)] {
		out = append(out, k.Key)
	}
	return out
}

func likelier(a, b *seen) int {
	return cmp.Or(cmp.Compare(b.score(), a.score()), cmp.Compare(a.Key, b.Key))
}

// lease is the whole lease as far as it was seen, and whether that is exact.
func (k *seen) lease(coarse time.Duration) (time.Duration, bool) {
	if k.Granted > 0 {
		return k.Granted, true
	}
	if !k.Leased {
		return 0, false
	}
	return roundUp(k.longest), k.fresh && k.longest > 2*coarse
}

// roundUp gives the round lease that a rest just below it is left of: nobody asks
// for 9.87 s.
func roundUp(d time.Duration) time.Duration {
	for _, step := range []time.Duration{10 * time.Second, 5 * time.Second, time.Second, 500 * time.Millisecond, 100 * time.Millisecond} {
		up := (d + step - 1) / step * step
		if up-d <= min(up/20, pollSlack) {
			return up
		}
	}
	step := 100 * time.Millisecond
	return (d + step - 1) / step * step
}

// pollSlack is how long ago a lease may have begun when it is first seen.
const pollSlack = 400 * time.Millisecond

// every is the time between two renewals of one owner; 0 if it cannot be told.
func (k *seen) every(coarse time.Duration) time.Duration {
	n := len(k.renewals)
	if n >= 2 {
		return k.renewals[n-1].Sub(k.renewals[0]) / time.Duration(n-1)
	}
	if lease, exact := k.lease(coarse); n == 1 && exact && lease > k.before {
		return lease - k.before // a renewal gives the whole lease back
	}
	return 0
}

// outlived: the hold has lasted longer than its lease, so it was renewed, even if no
// renewal could be told apart.
func (k *seen) outlived(coarse time.Duration) bool {
	lease, exact := k.lease(coarse)
	return exact && k.At.Sub(k.first) > lease+coarse
}
