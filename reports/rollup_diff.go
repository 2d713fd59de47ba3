package reports

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// RollupDiff compares two records of several locks, lock by lock, the earlier first.
type RollupDiff struct {
	Format int `json:"format"`
	// Old and New are the IDs of the records.
	Old string `json:"old"`
	New string `json:"new"`
	// Locks in the order of the later record, then those that are only in the earlier.
	Locks []LockDiff `json:"locks"`
	// Worse: a lock that is in both got worse.
	Worse bool `json:"worse"`
}

// LockDiff is one lock in both records. A lock without a report in one of them is new or
// gone, which is neither better nor worse.
type LockDiff struct {
	Name   string `json:"name"`
	Change Change `json:"change"`
	Diff   *Diff  `json:"diff,omitempty"`
}

// CompareRollups compares locks of the same name.
func CompareRollups(old, now Rollup) RollupDiff {
	d := RollupDiff{Format: DiffFormat, Old: old.ID, New: now.ID, Locks: []LockDiff{}}
	for _, l := range now.Locks {
		was := old.find(l.Name)
		switch {
		case l.Report == nil && (was == nil || was.Report == nil):
			d.Locks = append(d.Locks, LockDiff{Name: l.Name, Change: ChangeSame})
		case l.Report == nil:
			d.Locks = append(d.Locks, LockDiff{Name: l.Name, Change: ChangeGone})
		case was == nil || was.Report == nil:
			d.Locks = append(d.Locks, LockDiff{Name: l.Name, Change: ChangeNew})
		default:
			diff := Compare(*was.Report, *l.Report)
			d.Locks = append(d.Locks, LockDiff{Name: l.Name, Change: diff.change(), Diff: &diff})
			d.Worse = d.Worse || diff.Worse
		}
	}
	for _, l := range old.Locks {
		if l.Report != nil && now.find(l.Name) == nil {
			d.Locks = append(d.Locks, LockDiff{Name: l.Name, Change: ChangeGone})
		}
	}
	return d
}

func (r Rollup) find(name string) *RolledLock {
	at := slices.IndexFunc(r.Locks, func(l RolledLock) bool { return l.Name == name })
	if at < 0 {
		return nil
	}
	return &r.Locks[at]
}

// change sums a comparison up: one item that got worse is not made up for by others.
func (d Diff) change() Change {
	switch {
	case d.Worse:
		return ChangeWorse
	case d.Letter == ChangeBetter || len(d.Of(ChangeBetter)) > 0:
		return ChangeBetter
	}
	return ChangeSame
}

// RollupDiffJSON writes the comparison as docs/schema/rollup-diff.schema.json describes it.
func RollupDiffJSON(w io.Writer, d RollupDiff) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	if err := out.Encode(d); err != nil {
		return fmt.Errorf("write comparison: %w", err)
	}
	return nil
}

// RollupDiffText writes the comparison for people, the locks that got worse first.
func RollupDiffText(w io.Writer, d RollupDiff, o TextOptions) error {
	if o.Width == 0 {
		o.Width = defaultWidth
	}
	p := &page{width: min(max(o.Width, minWidth), maxWidth), paint: painter(o.Color)}
	order := []Change{ChangeWorse, ChangeBetter, ChangeNew, ChangeGone, ChangeSame}
	locks := slices.Clone(d.Locks)
	slices.SortStableFunc(locks, func(x, y LockDiff) int { return slices.Index(order, x.Change) - slices.Index(order, y.Change) })
	counts := map[Change]int{}
	for _, l := range locks {
		counts[l.Change]++
		p.lines("", "lock "+l.Name+": "+l.words(), p.paint.bold)
		if l.Diff == nil || l.Change == ChangeSame && len(l.Diff.Of(ChangeSame)) == len(l.Diff.Items) {
			continue
		}
		p.diff(*l.Diff)
		p.line("")
	}
	p.lines("", fmt.Sprintf("%s: %d worse, %d better, %d new, %d gone, %d the same", locksOf(len(locks)),
		counts[ChangeWorse], counts[ChangeBetter], counts[ChangeNew], counts[ChangeGone], counts[ChangeSame]), p.paint.bold)
	if _, err := io.WriteString(w, p.String()); err != nil {
		return fmt.Errorf("write comparison: %w", err)
	}
	return nil
}

func (l LockDiff) words() string {
	switch {
	case l.Change == ChangeNew:
		return "new, or not audited before"
	case l.Change == ChangeGone:
		return "gone, or not audited now"
	case l.Diff == nil:
		return "audited neither before nor now"
	}
	return string(l.Change)
}
