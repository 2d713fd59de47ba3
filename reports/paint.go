package reports

import (
	"github.com/lockaudit/lockaudit/checklist"
	"github.com/olekukonko/tablewriter/pkg/twwidth"
)

// painter adds terminal colours if it is true. Colour only repeats what the words
// say: the report reads the same without.
type painter bool

func (p painter) Wrap(code, s string) string {
	if !p || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p painter) bold(s string) string { return p.Wrap("1", s) }
func (p painter) dim(s string) string  { return p.Wrap("2", s) }
func (p painter) red(s string) string  { return p.Wrap("1;31", s) }

func (p painter) letter(s string) string {
	switch s {
	case "A":
		return p.Wrap("1;32", s)
	case "B", "C":
		return p.Wrap("1;33", s)
	case "D", "F":
		return p.red(s)
	}
	return s
}

func (p painter) outcome(o checklist.Outcome) string {
	switch o {
	case checklist.Pass:
		return p.Wrap("32", "✓ pass")
	case checklist.Warn:
		return p.Wrap("33", "! warn")
	case checklist.Fail:
		return p.red("✗ FAIL")
	case checklist.NotApplicable:
		return p.dim("- n/a")
	default:
		return p.dim("? open")
	}
}

// columns is the width of s on a terminal. Ambiguous characters count as one, as
// everywhere outside East Asian locales: the layout must not depend on where the
// report is printed.
func columns(s string) int {
	return twwidth.WidthWithOptions(s, twwidth.Options{})
}
