// Package reports prints judged runs: one file per format. A report says nothing
// that is not in the findings or the record; it orders, and puts into words.
package reports

import (
	"fmt"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/checklist"
	"github.com/lockaudit/lockaudit/record"
)

// Format is the version of the machine-readable report.
const Format = 1

// Report is what every format prints. Durations are nanoseconds in JSON.
type Report struct {
	Format int             `json:"format"`
	Run    Run             `json:"run"`
	Grade  checklist.Grade `json:"grade"`
	// Headline is the result in one sentence.
	Headline string `json:"headline"`
	// Belief is nil if no trial showed how long a late holder believed.
	Belief   *Belief             `json:"belief,omitempty"`
	Findings []checklist.Finding `json:"findings"`
	Probes   []record.Probe      `json:"probes"`
	// Damage lists what is wrong with the record itself.
	Damage []string `json:"damage"`
	// Residue lists faults that may still be in effect.
	Residue []record.Residue `json:"residue"`
}

// Run identifies the run and what it audited.
type Run struct {
	ID       string         `json:"id"`
	Group    string         `json:"group,omitempty"` // of which this run is one lock
	Tool     string         `json:"tool"`
	Started  time.Time      `json:"started"`
	Finished *time.Time     `json:"finished,omitempty"`
	Status   record.Status  `json:"status"`
	Err      string         `json:"err,omitempty"`
	Subject  record.Subject `json:"subject"`
	// Seed drew the random shapes of a partition; 0: there were none.
	Seed uint64 `json:"seed,omitempty"`
	// Nodes are those whose agents were reached, with their clocks against the auditor's.
	Nodes []record.Node `json:"nodes,omitempty"`
}

// Belief is the longest time during which a late holder believed that it held the
// lock while another client held it.
type Belief struct {
	Overlap time.Duration `json:"overlap"`
	// Open: it still believed when the trial ended, so the true time is longer.
	Open bool `json:"open"`
	// Probe and Trial show it.
	Probe string `json:"probe"`
	Trial int    `json:"trial"`
}

// New assembles the report of a judged run.
func New(run record.Run, findings []checklist.Finding, grade checklist.Grade) Report {
	m := run.Manifest
	r := Report{
		Format: Format,
		Run: Run{
			ID: m.ID, Group: m.Group, Tool: m.Tool, Started: m.Started, Status: m.Status, Err: m.Err, Subject: m.Subject, Seed: m.Seed, Nodes: m.Nodes,
		},
		Grade: grade, Findings: orEmpty(findings), Probes: orEmpty(m.Probes),
		Damage: orEmpty(run.Damage), Residue: orEmpty(m.Residue),
	}
	if !m.Finished.IsZero() {
		r.Run.Finished = &m.Finished
	}
	if o, ok := checklist.BeliefOverlap(run); ok {
		r.Belief = &Belief{Overlap: o.For, Open: o.Open, Probe: o.Probe, Trial: o.Trial}
	}
	r.Headline = headline(r)
	return r
}

// orEmpty keeps lists lists in JSON.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// headline leads with the worst that was seen.
func headline(r Report) string {
	worst := worstFinding(r.Findings)
	switch {
	case len(r.Residue) > 0:
		return fmt.Sprintf("a fault may still be in effect on node %s", r.Residue[0].Node)
	case worst != nil && worst.Harm:
		return "harm seen: " + worst.Summary
	case worst != nil && worst.Outcome == checklist.Fail:
		return fmt.Sprintf("a %s item fails: %s", worst.Severity, worst.Summary)
	case r.Grade.Tested == 0:
		return "nothing was tested"
	case worst != nil:
		return "no item fails; to look at: " + worst.Summary
	}
	return "every tested item passes"
}

// worstFinding is the failed or warned finding that costs most; nil if there is
// none. The first in the list wins, since the list begins with what matters most.
func worstFinding(findings []checklist.Finding) *checklist.Finding {
	var worst *checklist.Finding
	for i := range findings {
		if f := &findings[i]; troubled(*f) && (worst == nil || rank(*f) > rank(*worst)) {
			worst = f
		}
	}
	return worst
}

func troubled(f checklist.Finding) bool {
	return f.Outcome == checklist.Fail || f.Outcome == checklist.Warn
}

func rank(f checklist.Finding) int {
	n := map[checklist.Severity]int{checklist.Critical: 3, checklist.Major: 2, checklist.Minor: 1}[f.Severity]
	if f.Outcome == checklist.Fail && f.Severity != checklist.Advice {
		n += 10
	}
	if f.Harm {
		n += 100
	}
	return n
}

// believed says the belief overlap in words, in seconds; empty if it is not known.
func believed(b *Belief) string {
	if b == nil {
		return ""
	}
	if b.Overlap == 0 && !b.Open {
		return "a late holder stopped by itself before another was granted the lock (" + b.Probe + ")"
	}
	least := ""
	if b.Open {
		least = "at least "
	}
	text := fmt.Sprintf("a late holder believed for %s%.3f s that it held the lock while another did (%s)", least, b.Overlap.Seconds(), b.Probe)
	if b.Open {
		text += ", and had not noticed by itself"
	}
	return text
}

// oneLine keeps foreign text from breaking the layout or writing to a terminal:
// control characters become blanks, and so does what XML cannot hold.
func oneLine(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 || c == 0xfffe || c == 0xffff {
			return ' '
		}
		return c
	}, s)
}
