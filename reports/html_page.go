package reports

import (
	"fmt"
	"slices"

	"github.com/lockaudit/lockaudit/checklist"
	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/record"
)

// htmlPage is what the template shows.
type htmlPage struct {
	Report
	LetterWords string
	NoLetter    string // why there is none
	Believed    string
	Owner       string // who answers for the lock
	Waived      string // what is waived
	Ended       string // how the run ended, if not as planned
	Counts      []count
	Worst       []htmlFinding
	All         []htmlFinding // in the order of the checklist
	Groups      []htmlGroup   // in the order of what matters
	Charts      []chart
	Timelines   []htmlProbe
	Facts       *facts.Deployment
	Broken      []record.Probe // did not run as planned
}

type count struct {
	Class, Sign, Word string
	N                 int
}

type htmlGroup struct {
	ID, Title string
	Open      bool
	Legend    bool // it has the first pictures
	Findings  []htmlFinding
}

// worstShown is how many findings the head of the report names.
const worstShown = 3

func newHTMLPage(r Report, run record.Run) htmlPage {
	p := htmlPage{
		Report: r, LetterWords: letterWords(r.Grade.Letter), Believed: sentence(believed(r.Belief)),
		Facts: run.Facts, Charts: charts(run),
		Owner: ownerWords(r.Run.Subject.Owner), Waived: sentence(r.waivedWords()),
	}
	if r.Grade.Letter == "" {
		p.NoLetter = why(r)
	}
	if r.Run.Status != record.Complete {
		p.Ended = "The run did not come to its end (" + string(r.Run.Status) + ")"
		if r.Run.Err != "" {
			p.Ended += ": " + r.Run.Err
		}
	}
	pictures := newPictures(run)
	views := map[string]htmlFinding{}
	for _, f := range r.Findings {
		v := newHTMLFinding(r, f, pictures)
		views[f.Item] = v
		p.All = append(p.All, v)
	}
	p.Counts = counts(p.All)
	p.Groups = groups(r.Findings, views)
	for _, f := range troubledFirst(r.Findings) {
		if len(p.Worst) < worstShown {
			p.Worst = append(p.Worst, views[f.Item])
		}
	}
	for _, probe := range r.Probes {
		if !asPlanned(probe) {
			p.Broken = append(p.Broken, probe)
		}
	}
	p.Timelines = pictures.all(r.Probes)
	return p
}

func counts(all []htmlFinding) []count {
	var out []count
	for _, v := range all {
		at := slices.IndexFunc(out, func(c count) bool { return c.Word == v.Word })
		if at < 0 {
			out, at = append(out, count{Class: v.Class, Sign: v.Sign, Word: v.Word}), len(out)
		}
		out[at].N++
	}
	order := []string{"fail", "warning", "pass", "not decided", "not tested", "does not apply"}
	slices.SortStableFunc(out, func(x, y count) int { return slices.Index(order, x.Word) - slices.Index(order, y.Word) })
	return out
}

// groups orders the findings as the text report does.
func groups(findings []checklist.Finding, views map[string]htmlFinding) []htmlGroup {
	trouble := htmlGroup{ID: "trouble", Title: "What to look at", Open: true}
	for _, f := range troubledFirst(findings) {
		trouble.Findings = append(trouble.Findings, views[f.Item])
	}
	passed := htmlGroup{ID: "passed", Title: "What passed, and why that can be said"}
	undecided := htmlGroup{ID: "undecided", Title: "Tested, but not decided"}
	untested := htmlGroup{ID: "untested", Title: "Not tested"}
	other := htmlGroup{ID: "other", Title: "Does not apply"}
	for _, f := range findings {
		to := &untested
		switch {
		case troubled(f):
			continue
		case f.Outcome == checklist.Pass:
			to = &passed
		case f.Outcome == checklist.NotApplicable:
			to = &other
		case f.Tested:
			to = &undecided
		}
		to.Findings = append(to.Findings, views[f.Item])
	}
	all := slices.DeleteFunc([]htmlGroup{trouble, passed, undecided, untested, other},
		func(g htmlGroup) bool { return len(g.Findings) == 0 })
	for i := range all {
		if all[i].pictured() {
			all[i].Legend = true
			break
		}
	}
	return all
}

// pictured reports whether a finding of the group has a picture.
func (g htmlGroup) pictured() bool {
	return slices.ContainsFunc(g.Findings, func(f htmlFinding) bool {
		return slices.ContainsFunc(f.Scenes, func(s scene) bool { return !s.Empty() })
	})
}

// htmlFinding is one finding with its pictures.
type htmlFinding struct {
	checklist.Finding
	Class, Sign, Word string
	Cost              string // severity, and whether harm was seen
	Trials            string
	Incident          *Incident
	Scenes            []scene
	Seen              []string // facts cited, which have no place in time
}

func newHTMLFinding(r Report, f checklist.Finding, p pictures) htmlFinding {
	v := htmlFinding{Finding: f, Cost: string(f.Severity), Incident: incident(r, f)}
	v.Sign, v.Word = outcomeWord(f)
	v.Class = map[checklist.Outcome]string{checklist.Pass: "pass", checklist.Warn: "warn", checklist.Fail: "fail"}[f.Outcome]
	if v.Class == "" {
		v.Class = "open"
	}
	if f.Harm {
		v.Cost += ", harm seen"
	}
	if f.Waived() {
		v.Cost += ", waived"
	}
	if f.Trials.Of > 0 && f.Outcome != checklist.Inconclusive {
		v.Trials = fmt.Sprintf("%d of %d trials", f.Trials.Shown, f.Trials.Of)
	}
	v.Scenes, v.Seen = p.scenes(f)
	return v
}
