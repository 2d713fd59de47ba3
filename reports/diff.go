package reports

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lockaudit/lockaudit/checklist"
	"github.com/lockaudit/lockaudit/record"
)

// DiffFormat is the version of the machine-readable comparison.
const DiffFormat = 1

// Change says how an item's verdict moved from one run to another.
type Change string

// The changes. New and gone are about what is known, not about what is good: an
// item that is not tested any more did not get better.
const (
	ChangeWorse  Change = "worse"
	ChangeBetter Change = "better"
	ChangeNew    Change = "new"  // a verdict where there was none
	ChangeGone   Change = "gone" // no verdict any more
	ChangeSame   Change = "same"
)

// Diff compares two judged runs, the earlier first.
type Diff struct {
	Format int  `json:"format"`
	Old    Side `json:"old"`
	New    Side `json:"new"`
	// Letter is how the letter moved.
	Letter Change `json:"letter"`
	// Items in the order of the checklist, the same ones included.
	Items []ItemDiff `json:"items"`
	// Apart says in what the runs differ besides the verdicts, one line each: if
	// they are of different deployments, that may be the cause of everything else.
	Apart []string `json:"apart"`
	// Worse: the letter or an item got worse.
	Worse bool `json:"worse"`
}

// Side is one of the two runs.
type Side struct {
	Run        string          `json:"run"`
	Deployment string          `json:"deployment"`
	Grade      checklist.Grade `json:"grade"`
	Belief     *Belief         `json:"belief,omitempty"`
}

// ItemDiff is one item in both runs.
type ItemDiff struct {
	Item     string             `json:"item"`
	Severity checklist.Severity `json:"severity"`
	Change   Change             `json:"change"`
	Old      *Verdict           `json:"old,omitempty"`
	New      *Verdict           `json:"new,omitempty"`
}

// Verdict is an item's outcome in one run; nil where the run does not have the item.
type Verdict struct {
	Outcome checklist.Outcome `json:"outcome"`
	Harm    bool              `json:"harm"`
	Tested  bool              `json:"tested"`
	Summary string            `json:"summary"`
}

// Compare compares two reports, the earlier first.
func Compare(old, now Report) Diff {
	d := Diff{Format: DiffFormat, Old: side(old), New: side(now), Apart: orEmpty(apart(old, now))}
	d.Letter = letterChange(old.Grade.Letter, now.Grade.Letter)
	d.Worse = d.Letter == ChangeWorse
	for _, f := range now.Findings {
		d.add(f, verdict(find(old.Findings, f.Item)), verdict(&f))
	}
	for _, f := range old.Findings {
		if find(now.Findings, f.Item) == nil {
			d.add(f, verdict(&f), nil)
		}
	}
	d.Items = orEmpty(d.Items)
	return d
}

func (d *Diff) add(f checklist.Finding, old, now *Verdict) {
	change := changeOf(old, now)
	d.Worse = d.Worse || change == ChangeWorse
	d.Items = append(d.Items, ItemDiff{Item: f.Item, Severity: f.Severity, Change: change, Old: old, New: now})
}

// Of lists the items that changed so.
func (d Diff) Of(change Change) []ItemDiff {
	return slices.DeleteFunc(slices.Clone(d.Items), func(i ItemDiff) bool { return i.Change != change })
}

func side(r Report) Side {
	return Side{Run: r.Run.ID, Deployment: r.Run.Subject.Name, Grade: r.Grade, Belief: r.Belief}
}

func verdict(f *checklist.Finding) *Verdict {
	if f == nil {
		return nil
	}
	return &Verdict{Outcome: f.Outcome, Harm: f.Harm, Tested: f.Tested, Summary: f.Summary}
}

// level orders verdicts from good to bad; 0 is none.
func (v *Verdict) level() int {
	switch {
	case v == nil, v.Outcome == checklist.Inconclusive, v.Outcome == checklist.NotApplicable:
		return 0
	case v.Outcome == checklist.Pass:
		return 1
	case v.Outcome == checklist.Warn:
		return 2
	case !v.Harm:
		return 3
	}
	return 4
}

func changeOf(old, now *Verdict) Change {
	was, is := old.level(), now.level()
	switch {
	case was == is:
		return ChangeSame
	case was == 0:
		return ChangeNew
	case is == 0:
		return ChangeGone
	case is > was:
		return ChangeWorse
	}
	return ChangeBetter
}

func letterChange(old, now string) Change {
	switch {
	case old == now:
		return ChangeSame
	case old == "":
		return ChangeNew
	case now == "":
		return ChangeGone
	case checklist.AtLeast(now, old):
		return ChangeBetter
	}
	return ChangeWorse
}

// apart lists what else differs, so that nobody takes the change of a deployment, of
// the tool or of the effort for a change of the lock.
func apart(old, now Report) []string {
	var out []string
	differ := func(what, x, y string) {
		if x != y {
			out = append(out, fmt.Sprintf("%s: %s, then %s", what, orNone(x), orNone(y)))
		}
	}
	o, n := old.Run.Subject, now.Run.Subject
	differ("deployment", o.Name, n.Name)
	differ("backend", o.Backend, n.Backend)
	differ("lease", checklist.Duration(o.TTL), checklist.Duration(n.TTL))
	differ("purpose", o.Purpose, n.Purpose)
	differ("resource", o.Resource, n.Resource)
	differ("owner", ownerWords(o.Owner), ownerWords(n.Owner))
	differ("waived", strings.Join(old.Grade.Waived, " "), strings.Join(now.Grade.Waived, " "))
	differ("endpoints", strings.Join(o.Endpoints, " "), strings.Join(n.Endpoints, " "))
	differ("passive", fmt.Sprint(o.Passive), fmt.Sprint(n.Passive))
	differ("probes", probeNames(old), probeNames(now))
	differ("lockaudit", old.Run.Tool, now.Run.Tool)
	for _, r := range []Report{old, now} {
		if r.Run.Status != record.Complete {
			out = append(out, fmt.Sprintf("run %s did not come to its end", r.Run.ID))
		}
		if len(r.Damage) > 0 {
			out = append(out, fmt.Sprintf("the record of run %s is damaged", r.Run.ID))
		}
	}
	return out
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// probeNames are those with a completed trial.
func probeNames(r Report) string {
	var names []string
	for _, p := range r.Probes {
		if p.Completed > 0 {
			names = append(names, p.Name)
		}
	}
	return strings.Join(names, " ")
}
