package history

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// DoubleGrant is a pair of holds that cannot have been one after the other: the
// lock service had granted one lock to two parties at once.
type DoubleGrant struct {
	Key string
	// First began earlier. Second may be a point: then every instant at which it
	// can have been held is covered by First or by holds that overlap it.
	First, Second Hold
	// From and To bound the time in which both held (of a point: its window).
	From, To time.Duration
}

// Seqs lists the events that prove the double grant.
func (d DoubleGrant) Seqs() []int { return append(d.First.Seqs(), d.Second.Seqs()...) }

// DoubleGrants returns, for each hold that overlaps an earlier one of another party
// by more than nothing, the pair with the longest of those. Equal timestamps are
// concurrent, not overlapping. It takes O(n log n).
func DoubleGrants(events []Event, o Options) []DoubleGrant {
	return doubleGrants(Holds(events, o), covers)
}

// covers: does a hold that ends at to go on after at?
func covers(to, at time.Duration) bool { return to > at }

// doubleGrants is DoubleGrants with the comparison as a parameter, for the test
// that shows that a wrong comparison is noticed.
func doubleGrants(holds []Hold, covers func(to, at time.Duration) bool) []DoubleGrant {
	slices.SortStableFunc(holds, func(a, b Hold) int {
		return cmp.Or(strings.Compare(a.Key, b.Key), cmp.Compare(a.From, b.From))
	})
	var found []DoubleGrant
	for start := 0; start < len(holds); {
		end := start + 1
		for end < len(holds) && holds[end].Key == holds[start].Key {
			end++
		}
		found = append(found, oneKey(holds[start:end], covers)...)
		start = end
	}
	return found
}

// oneKey checks the holds of one key, sorted by From.
func oneKey(holds []Hold, covers func(to, at time.Duration) bool) []DoubleGrant {
	var found []DoubleGrant
	cores := make([]Hold, 0, len(holds))
	var points []Hold
	for _, h := range holds {
		if h.Kind == Point {
			points = append(points, h)
		} else {
			cores = append(cores, h)
		}
	}
	ends := longest(cores)
	for i, h := range cores {
		if other := ends[i].other(h.party); other >= 0 && covers(cores[other].To, h.From) {
			first := cores[other]
			found = append(found, DoubleGrant{Key: h.Key, First: first, Second: h, From: h.From, To: min(first.To, h.To)})
		}
	}
	for _, p := range points {
		if other := covering(cores, ends, p); other >= 0 {
			found = append(found, DoubleGrant{Key: p.Key, First: cores[other], Second: p, From: p.From, To: p.To})
		}
	}
	return found
}

// covering looks for an instant in the window of p that lies in no hold of another
// party. If there is none it returns one of the holds that cover the window.
func covering(cores []Hold, ends []ends, p Hold) int {
	last := -1
	for at := p.From; at <= p.To; {
		begun, _ := slices.BinarySearchFunc(cores, at, func(h Hold, at time.Duration) int { return cmp.Compare(h.From, at) })
		other := ends[begun].other(p.party)
		if other < 0 || cores[other].To <= at {
			return -1
		}
		at, last = cores[other].To, other
	}
	return last
}

// ends names the hold with the latest end among the first n, and the same among
// those of all other parties; -1: none.
type ends struct {
	best, second int32
	bestParty    int32
}

func (e ends) other(party int32) int {
	if e.best >= 0 && e.bestParty != party {
		return int(e.best)
	}
	return int(e.second)
}

// longest returns the ends of every prefix of the cores.
func longest(cores []Hold) []ends {
	all := make([]ends, len(cores)+1)
	e := ends{best: -1, second: -1}
	all[0] = e
	for i, h := range cores {
		n := int32(i)
		switch {
		case e.best < 0:
			e.best, e.bestParty = n, h.party
		case h.party == e.bestParty:
			if h.To > cores[e.best].To {
				e.best = n
			}
		case h.To > cores[e.best].To:
			e.second = e.best
			e.best, e.bestParty = n, h.party
		case e.second < 0 || h.To > cores[e.second].To:
			e.second = n
		}
		all[i+1] = e
	}
	return all
}
