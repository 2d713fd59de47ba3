package survey

import (
	"fmt"
	"slices"
	"strings"
)

// What speaks for a lock, in points. A name and a lease are just enough; so are an
// owner's value and a lease.
const (
	pointsBuilt   = 5 // made as a lock library makes it
	pointsRenewed = 3 // the same owner extended it
	pointsNamed   = 2
	pointsOwner   = 2 // the value is what owners write
	pointsLeased  = 1
	pointsHanded  = 1 // owners took turns
	pointsWaited  = 1 // others queue for it
	// A document or a long text is what is cached, not who owns.
	pointsDocument = -3

	worthWatching = 1
	worthNaming   = 3
)

func (k *seen) score() int {
	n, _ := k.reasons()
	return n
}

// reasons adds the points up and says what they are for.
func (k *seen) reasons() (score int, why []string) {
	add := func(points int, words string) {
		score += points
		if words != "" {
			why = append(why, words)
		}
	}
	if k.Certain != "" {
		add(pointsBuilt, k.Certain)
	}
	if word, ok := namedAsLock(k.Key); ok {
		add(pointsNamed, fmt.Sprintf("%q in its name", word))
	}
	if k.Leased {
		add(pointsLeased, "it expires")
	}
	switch {
	case k.likely:
		add(pointsOwner, "its value is "+k.form)
	case strings.HasPrefix(k.form, "a document") || strings.HasSuffix(k.form, "or more"):
		add(pointsDocument, "")
	}
	if len(k.renewals) > 0 {
		add(pointsRenewed, "its owner renews it")
	}
	if len(k.owners) > 1 {
		add(pointsHanded, "it changed hands")
	}
	if k.waiting > 0 {
		add(pointsWaited, "others wait for it")
	}
	return score, why
}

// fewNames is how many locks of one parent are still told apart by name.
const fewNames = 3

// Groups are the keys that may be locks, those with alike names together, the
// likeliest first.
func (w *Watch) Groups() []Group {
	byPattern := map[string][]*seen{}
	var names []string
	for _, k := range w.keys {
		if k.score() >= worthNaming {
			byPattern[pattern(k.Key)] = append(byPattern[pattern(k.Key)], k)
			names = append(names, pattern(k.Key))
		}
	}
	for up, n := range common(names) {
		if n <= fewNames {
			continue
		}
		for _, name := range names {
			if p, _ := parent(name); p == up && name != up {
				byPattern[up] = append(byPattern[up], byPattern[name]...)
				delete(byPattern, name)
			}
		}
	}
	out := []Group{}
	for p, keys := range byPattern {
		out = append(out, w.group(p, keys))
	}
	Sort(out)
	return out
}

// Sort puts the likeliest first.
func Sort(groups []Group) {
	slices.SortFunc(groups, func(a, b Group) int {
		if a.Score != b.Score {
			return b.Score - a.Score
		}
		return strings.Compare(a.Pattern, b.Pattern)
	})
}

// group says of several keys what the likeliest of them shows.
func (w *Watch) group(p string, keys []*seen) Group {
	slices.SortFunc(keys, likelier)
	best := keys[0]
	if len(keys) == 1 {
		p = best.Key
	}
	g := Group{Pattern: p, Keys: len(keys), Key: best.Key, Kind: best.Kind, Owner: best.form, Owners: len(best.owners)}
	g.Lease, g.Exact = best.lease(w.Coarse)
	g.Renewals, g.Every = len(best.renewals), best.every(w.Coarse)
	g.Score, g.Why = best.reasons()
	if g.Renewals == 0 && best.outlived(w.Coarse) {
		g.Renewals = 1
		g.Why = append(g.Why, "it outlived its lease, so it is renewed")
	}
	for _, k := range keys {
		g.Waiting = max(g.Waiting, k.waiting)
	}
	return g
}
