// Package checklist judges recorded runs and never acts. One file holds one
// item; items.go lists them; testdata/<item>/{pass,fail,inconclusive}/ holds the
// runs that each must judge so.
package checklist

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/record"
)

// Outcome of an item. The zero value is Inconclusive: what was not shown is
// never passed.
type Outcome int

// The outcomes.
const (
	Inconclusive Outcome = iota
	NotApplicable
	Pass
	Warn
	Fail
)

var outcomeWords = [...]string{"inconclusive", "not-applicable", "pass", "warn", "fail"}

func (o Outcome) String() string {
	if o < 0 || int(o) >= len(outcomeWords) {
		return fmt.Sprintf("outcome(%d)", int(o))
	}
	return outcomeWords[o]
}

// MarshalJSON writes the outcome as a word.
func (o Outcome) MarshalJSON() ([]byte, error) { return json.Marshal(o.String()) }

// UnmarshalJSON reads the word.
func (o *Outcome) UnmarshalJSON(data []byte) error {
	var word string
	if err := json.Unmarshal(data, &word); err != nil {
		return fmt.Errorf("decode outcome: %w", err)
	}
	for i, w := range outcomeWords {
		if w == word {
			*o = Outcome(i)
			return nil
		}
	}
	return fmt.Errorf("decode outcome: unknown word %q", word)
}

// Severity is what a failed item costs: the letter D, C or B, or nothing.
type Severity string

// The severities, worst first.
const (
	Critical Severity = "critical"
	Major    Severity = "major"
	Minor    Severity = "minor"
	Advice   Severity = "advice"
)

// Finding is an item's outcome with its evidence.
type Finding struct {
	Item     string   `json:"item"`
	Severity Severity `json:"severity"`
	Question string   `json:"question"`
	Outcome  Outcome  `json:"outcome"`
	// Tested is false when no probe of the run produced anything to judge.
	Tested bool `json:"tested"`
	// Harm: the failure is damage seen, not only the possibility of it.
	Harm bool `json:"harm,omitempty"`
	// Summary is one sentence: what was seen.
	Summary  string     `json:"summary"`
	Why      string     `json:"why"`
	Fix      string     `json:"fix,omitempty"`
	Evidence []Evidence `json:"evidence,omitempty"`
	Trials   Trials     `json:"trials,omitzero"`
	// Reproduce is the one command that shows it again.
	Reproduce string `json:"reproduce,omitempty"`
	// Waiver is the plan's for this item, whatever the outcome is; nil: there is none.
	Waiver *Waiver `json:"waiver,omitempty"`
}

// Evidence cites one event of a history, or one fact.
type Evidence struct {
	Probe string        `json:"probe,omitempty"`
	Trial int           `json:"trial,omitempty"`
	Seq   int           `json:"seq,omitempty"` // of the event; 0 for a fact
	At    time.Duration `json:"at,omitempty"`
	Actor string        `json:"actor,omitempty"`
	Text  string        `json:"text"`
}

// Trials says how much stands behind an outcome: in Shown of Of trials.
type Trials struct {
	Shown int `json:"shown,omitempty"`
	Of    int `json:"of,omitempty"`
}

// Item is one row of the checklist.
type Item struct {
	// ID is a true-or-false phrase: fencing_enforced.
	ID       string
	Question string
	// Why it matters, in one or two sentences.
	Why      string
	Severity Severity
	// Probes that produce what Judge reads; if none of them ran, the item is not tested.
	Probes []string
	// Beside are probes that add to the finding, and alone leave it untested unless what
	// they saw is a reason to warn.
	Beside []string
	// Fix says what to do, by backend; the entry "" is for every other one.
	Fix map[string]string
	// Fencing marks the items that are only advice where the lock saves work and
	// does not protect data (record.Subject.Purpose efficiency).
	Fencing bool
	// Judge reads the run and fills in Outcome, Harm, Summary, Evidence and Trials;
	// the caller fills in the rest. It is called only if one of Probes left
	// something to judge. nil: no probe of this version can judge the item.
	Judge func(record.Run) Finding
}
