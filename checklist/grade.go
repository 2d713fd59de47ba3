package checklist

import (
	"fmt"
	"strings"

	"github.com/lockaudit/lockaudit/record"
)

// Grade is the letter of a run and, beside it and never mixed into it, how much
// was tested.
type Grade struct {
	// Letter is A to F, or empty if the run supports none: a passive inspection, or
	// a run in which nothing was tested under a fault or by a client.
	//
	//	A  every tested item passes
	//	B  warnings or minor failures only
	//	C  a major item fails
	//	D  a critical item fails, no harm seen
	//	F  harm seen
	Letter string `json:"letter"`
	// Tested of Items have a verdict: pass, warn or fail. Items that do not apply
	// are not counted.
	Tested int `json:"tested"`
	Items  int `json:"items"`
	// UntestedCritical and UndecidedCritical list the IDs of the critical items without a
	// verdict: those that nothing was tested of, and those whose test decided nothing.
	UntestedCritical  []string `json:"untested_critical"`
	UndecidedCritical []string `json:"undecided_critical"`
	Harm              bool     `json:"harm"`
	Passive           bool     `json:"passive"`
	// Waived are the IDs of the failures and warnings that somebody has accepted. They
	// count for Letter like any other.
	Waived []string `json:"waived,omitempty"`
	// Unwaived is the letter that the rest would have, with which a wanted letter is
	// compared; empty where nothing is waived.
	Unwaived string `json:"unwaived,omitempty"`
}

// GradeOf grades the findings of a run. Advice costs nothing.
func GradeOf(findings []Finding, run record.Run) Grade {
	g := Grade{UntestedCritical: []string{}, UndecidedCritical: []string{}, Passive: run.Manifest.Subject.Passive}
	worst, unwaived := 0, 0
	for _, f := range findings {
		if f.Outcome == NotApplicable {
			continue
		}
		g.Items++
		if f.Outcome == Inconclusive {
			switch {
			case f.Severity != Critical:
			case f.Tested:
				g.UndecidedCritical = append(g.UndecidedCritical, f.Item)
			default:
				g.UntestedCritical = append(g.UntestedCritical, f.Item)
			}
			continue
		}
		g.Tested++
		worst = max(worst, cost(f))
		g.Harm = g.Harm || f.Outcome == Fail && f.Harm
		if f.Waived() {
			g.Waived = append(g.Waived, f.Item)
		} else {
			unwaived = max(unwaived, cost(f))
		}
	}
	if g.Tested > 0 && !g.Passive && acted(run) {
		g.Letter = letters[worst : worst+1]
		if len(g.Waived) > 0 {
			g.Unwaived = letters[unwaived : unwaived+1]
		}
	}
	return g
}

const letters = "ABCDF"

// cost is the place in letters to which a finding alone brings the grade.
func cost(f Finding) int {
	switch {
	case f.Outcome == Fail && f.Harm:
		return len(letters) - 1
	case f.Severity == Advice || f.Outcome != Warn && f.Outcome != Fail:
		return 0
	case f.Outcome == Warn || f.Severity == Minor:
		return 1
	case f.Severity == Major:
		return 2
	default:
		return 3
	}
}

// acted: some probe did more than look.
func acted(run record.Run) bool {
	for probe, events := range run.Histories {
		if probe != inspect && len(events) > 0 {
			return true
		}
	}
	return false
}

// Coverage is the line beside the letter.
func (g Grade) Coverage() string {
	text := fmt.Sprintf("%d of %d items tested", g.Tested, g.Items)
	if len(g.UntestedCritical) > 0 {
		text += "; untested critical: " + strings.Join(g.UntestedCritical, ", ")
	}
	if len(g.UndecidedCritical) > 0 {
		text += "; undecided critical: " + strings.Join(g.UndecidedCritical, ", ")
	}
	return text
}

// Wanted is the letter with which a wanted one is compared: without what is waived.
func (g Grade) Wanted() string {
	if g.Unwaived != "" {
		return g.Unwaived
	}
	return g.Letter
}

func (g Grade) String() string {
	if g.Letter == "" {
		return "no letter, " + g.Coverage()
	}
	return g.Letter + ", " + g.Coverage()
}
