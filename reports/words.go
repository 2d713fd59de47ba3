package reports

import (
	"unicode"
	"unicode/utf8"

	"github.com/lockaudit/lockaudit/checklist"
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
