package reports

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/lockaudit/lockaudit/checklist"
	"github.com/lockaudit/lockaudit/record"
)

// sentence begins with a capital and ends with a full stop.
func sentence(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	if size == 0 {
		return ""
	}
	s = string(unicode.ToUpper(first)) + s[size:]
	switch s[len(s)-1] {
	case '.', '!', '?':
		return s
	}
	return s + "."
}

// outcomeWord is what the reports call an outcome; sign repeats it as a character,
// so that no report depends on colour.
func outcomeWord(f checklist.Finding) (sign, word string) {
	switch f.Outcome {
	case checklist.Pass:
		return "✓", "pass"
	case checklist.Warn:
		return "!", "warning"
	case checklist.Fail:
		return "✗", "fail"
	case checklist.NotApplicable:
		return "–", "does not apply"
	}
	if f.Tested {
		return "?", "not decided"
	}
	return "○", "not tested"
}

// letterWords says what a letter stands for; see checklist.Grade.
func letterWords(letter string) string {
	switch letter {
	case "A":
		return "every tested item passes"
	case "B":
		return "warnings or minor failures only"
	case "C":
		return "a major item fails"
	case "D":
		return "a critical item fails, no harm seen"
	case "F":
		return "harm seen"
	}
	return "no letter"
}

// asPlanned: every trial was carried out, and none of them twice.
func asPlanned(p record.Probe) bool { return p.Status == record.Ran && len(p.Repeats) == 0 }

// probeWords says how a probe went that did not go as planned.
func probeWords(p record.Probe) string {
	text := fmt.Sprintf("%s, %d of %d trials completed", p.Status, p.Completed, p.Trials)
	if p.Err != "" {
		text += ": " + p.Err
	}
	for _, r := range p.Repeats {
		text += fmt.Sprintf("; trial %d showed nothing and was repeated: %s", r.Trial, r.Why)
	}
	return text
}

// seedWords are the seed of a run that drew something, or "".
func (r Report) seedWords() string {
	if r.Run.Seed == 0 {
		return ""
	}
	return fmt.Sprintf(", seed %d", r.Run.Seed)
}

// clockWords say how far a node's clock was ahead of the auditor's.
func clockWords(n record.Node) string {
	if n.Unread != "" {
		return "not read: " + n.Unread
	}
	sign := "+"
	if n.ClockAhead < 0 {
		sign = "−"
	}
	return sign + checklist.Duration(n.ClockAhead.Abs()) + " ± " + checklist.Duration(n.ClockError)
}

// nodeWords are the agent of a node and how often it was reached.
func nodeWords(n record.Node) string {
	text := fmt.Sprintf("agent %s, protocol %d", n.AgentVersion, n.Protocol)
	if n.Times > 1 {
		text += fmt.Sprintf(", reached %d times: the connection was lost", n.Times)
	}
	return text
}

// ownerWords says who answers for a lock, or "".
func ownerWords(o record.Owner) string {
	switch {
	case o.Team == "":
		return o.Contact
	case o.Contact == "":
		return o.Team
	}
	return o.Team + " (" + o.Contact + ")"
}

// waivedWords says what is waived, and what a wanted letter is compared with; or "".
func (r Report) waivedWords() string {
	if len(r.Grade.Waived) == 0 {
		return ""
	}
	text := "waived, and counted like any other: " + strings.Join(r.Grade.Waived, ", ")
	if r.Grade.Unwaived != "" {
		text += "; --fail-under compares with " + r.Grade.Unwaived + ", the letter of the rest"
	}
	return text
}
