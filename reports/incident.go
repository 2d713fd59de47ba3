package reports

import (
	"fmt"

	"github.com/lockaudit/lockaudit/checklist"
)

// Incident tells a double execution the way an incident report would have told it,
// had it happened in production.
type Incident struct {
	Symptom    string
	RootCause  []string
	Diagnosis  string
	Resolution []string
}

// effectsItem is the item about what the lock is for.
const effectsItem = "effects_happen_once"

// causes lists the items that explain a double execution when they fail too, the
// nearest to it first. The first two that fail are told.
func causes() []string {
	return []string{"no_double_grant", "fencing_enforced", "consensus_backed", "tokens_increasing", "not_ttl_only"}
}

const maxCauses = 2

// incident is nil for every finding but a double execution or a lost update.
func incident(r Report, f checklist.Finding) *Incident {
	if f.Item != effectsItem || f.Outcome != checklist.Fail {
		return nil
	}
	in := &Incident{Symptom: sentence(f.Summary + trialWords(f))}
	in.Diagnosis = "The same run shows it"
	if e := firstEvent(f.Evidence); e != nil {
		in.Diagnosis = fmt.Sprintf("Probe %s, trial %d, from %s after the start of the run: see the timeline. The probe has a lock key and rows of its own, which nothing else writes",
			e.Probe, e.Trial, checklist.Duration(e.At))
	}
	in.Diagnosis = sentence(in.Diagnosis)
	in.Resolution = append(in.Resolution, f.Fix)
	for _, id := range causes() {
		if c := find(r.Findings, id); c != nil && c.Outcome == checklist.Fail && len(in.RootCause) < maxCauses {
			in.RootCause = append(in.RootCause, sentence(c.Summary)+" ("+c.Item+")")
			in.Resolution = append(in.Resolution, c.Fix)
		}
	}
	if len(in.RootCause) == 0 {
		in.RootCause = []string{"No other item fails in this run, so the lock kept its promise, and the operation did not keep within it: the lock alone cannot stop a holder that is late."}
	}
	return in
}

func firstEvent(evidence []checklist.Evidence) *checklist.Evidence {
	for i := range evidence {
		if evidence[i].Seq > 0 {
			return &evidence[i]
		}
	}
	return nil
}

func find(findings []checklist.Finding, id string) *checklist.Finding {
	for i := range findings {
		if findings[i].Item == id {
			return &findings[i]
		}
	}
	return nil
}

// trialWords says how often it was seen; empty if the item has no trials.
func trialWords(f checklist.Finding) string {
	if f.Trials.Of == 0 || f.Outcome == checklist.Inconclusive {
		return ""
	}
	return fmt.Sprintf(" (in %d of %d trials)", f.Trials.Shown, f.Trials.Of)
}
