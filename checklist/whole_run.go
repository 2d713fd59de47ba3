package checklist

import (
	"cmp"
	"maps"
	"slices"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// wholeRun is every probe's history as one: the probes share a lock key and one
// clock, so a grant in one of them can contradict a grant in another.
type wholeRun struct {
	events []history.Event
	// from names the probe of each event, by index; events[i].Seq is i+1.
	from []string
	// seq is each event's number in its own history, by index.
	seq []int
}

func joined(run record.Run) wholeRun {
	type placed struct {
		history.Event
		probe string
	}
	var all []placed
	for _, probe := range slices.Sorted(maps.Keys(run.Histories)) {
		for _, e := range run.Histories[probe] {
			all = append(all, placed{e, probe})
		}
	}
	// Stable: what one history recorded first stays first at equal times, so that
	// an invoke stays before its completion.
	slices.SortStableFunc(all, func(x, y placed) int { return cmp.Compare(x.At, y.At) })
	type origin struct {
		probe string
		seq   int
	}
	renumbered := map[origin]int{}
	w := wholeRun{}
	for i, p := range all {
		renumbered[origin{p.probe, p.Seq}] = i + 1
		w.from = append(w.from, p.probe)
		w.seq = append(w.seq, p.Seq)
	}
	for i, p := range all {
		p.Seq = i + 1
		if p.Call != 0 {
			p.Call = renumbered[origin{p.probe, p.Call}]
		}
		w.events = append(w.events, p.Event)
	}
	return w
}

// cite quotes events by their numbers in the joined history.
func (w wholeRun) cite(seqs ...int) []Evidence {
	slices.Sort(seqs)
	var out []Evidence
	for _, n := range slices.Compact(seqs) {
		if n < 1 || n > len(w.events) {
			continue
		}
		e := w.events[n-1]
		out = append(out, Evidence{Probe: w.from[n-1], Trial: e.Trial, Seq: w.seq[n-1], At: e.At, Actor: e.Actor, Text: words(e)})
	}
	return out
}
