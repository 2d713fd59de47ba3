package checklist

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/record"
)

// Exit statuses that a judged run can have; 3 (the audit could not run) and 64
// (usage) are the command's own.
const (
	ExitOK           = 0 // no failure, and the wanted grade and coverage were reached
	ExitFail         = 1 // an item failed, or the letter is below the wanted one
	ExitInconclusive = 2 // no failure, but too little was shown
	ExitResidue      = 4 // a fault may remain; outranks all
)

// ErrWant: the wanted grade or coverage cannot be read.
var ErrWant = errors.New("not a valid wish")

// Want is what the user asks of a run.
type Want struct {
	// Letter is the worst letter that is good enough. Empty: no item may fail.
	Letter string
	// Critical: every critical item must have a verdict.
	Critical bool
	// Tested is how many items must have one; All means every item.
	Tested int
	All    bool
}

// ParseLetter reads a letter, in either case.
func ParseLetter(s string) (string, error) {
	letter := strings.ToUpper(strings.TrimSpace(s))
	if len(letter) != 1 || !strings.Contains(letters, letter) {
		return "", fmt.Errorf("parse letter %q: %w: one of A, B, C, D, F", s, ErrWant)
	}
	return letter, nil
}

// ParseCoverage reads critical, all or a number of items; empty asks for nothing.
func (w *Want) ParseCoverage(s string) error {
	w.Critical, w.All, w.Tested = false, false, 0
	switch s {
	case "":
		return nil
	case "critical":
		w.Critical = true
		return nil
	case "all":
		w.All = true
		return nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > len(Items()) {
		return fmt.Errorf("parse coverage %q: %w: critical, all, or a number from 0 to %d", s, ErrWant, len(Items()))
	}
	w.Tested = n
	return nil
}

// AtLeast reports whether letter is as good as least or better. No letter is not.
func AtLeast(letter, least string) bool {
	if len(letter) != 1 || len(least) != 1 {
		return false
	}
	have, want := strings.Index(letters, letter), strings.Index(letters, least)
	return have >= 0 && want >= 0 && have <= want
}

// Covers reports whether as much was tested as is wanted.
func (w Want) Covers(g Grade) bool {
	if w.Critical && len(g.UntestedCritical)+len(g.UndecidedCritical) > 0 || w.All && g.Tested < g.Items {
		return false
	}
	return g.Tested >= w.Tested
}

// ExitStatus maps a judged run to the exit status.
//
// With a wanted letter the letter decides what is a failure; without one any
// failed item does, except advice. What is waived does neither: its owner has answered
// for it already, until a day; the report still calls it what it is. Without a failure the status is inconclusive
// if the run did not come to its end, if nothing has a verdict, if a letter is
// wanted and there is none, or if the wanted coverage was not reached.
func ExitStatus(run record.Run, findings []Finding, g Grade, w Want) int {
	if len(run.Manifest.Residue) > 0 {
		return ExitResidue
	}
	failed := false
	for _, f := range findings {
		failed = failed || f.Outcome == Fail && f.Severity != Advice && !f.Waived()
	}
	if w.Letter != "" {
		failed = g.Letter != "" && !AtLeast(g.Wanted(), w.Letter)
	}
	switch {
	case failed:
		return ExitFail
	case run.Manifest.Status != record.Complete, g.Tested == 0, w.Letter != "" && g.Letter == "", !w.Covers(g):
		return ExitInconclusive
	}
	return ExitOK
}
