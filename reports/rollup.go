package reports

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/lockaudit/lockaudit/checklist"
	"github.com/lockaudit/lockaudit/record"
)

// Rollup is the report of several locks on one page. It adds nothing to their own
// reports: it puts them side by side.
type Rollup struct {
	Format   int        `json:"format"`
	ID       string     `json:"id"`
	Name     string     `json:"name"` // of the plan file
	Tool     string     `json:"tool"`
	Started  time.Time  `json:"started"`
	Finished *time.Time `json:"finished,omitempty"`
	// Letter is the worst of the locks' letters; "" if none has one. What was not
	// audited has none, and Headline says so.
	Letter   string       `json:"letter"`
	Headline string       `json:"headline"`
	Locks    []RolledLock `json:"locks"`
}

// RolledLock is one lock of several.
type RolledLock struct {
	Name  string       `json:"name"`
	Owner record.Owner `json:"owner,omitzero"`
	// Run is the folder of its run within the record; "" where there is none.
	Run string `json:"run,omitempty"`
	// Err says why it was not audited, or not to the end.
	Err string `json:"err,omitempty"`
	// Report is nil where there is nothing to report.
	Report *Report `json:"report,omitempty"`
}

// NewRollup assembles the page. reports are in the order of the group's locks, nil for
// those that have none.
func NewRollup(g record.Group, reports []*Report) Rollup {
	r := Rollup{Format: Format, ID: g.ID, Name: g.Name, Tool: g.Tool, Started: g.Started, Locks: []RolledLock{}}
	if !g.Finished.IsZero() {
		r.Finished = &g.Finished
	}
	for i, m := range g.Locks {
		l := RolledLock{Name: m.Name, Owner: m.Owner, Run: m.Run, Err: m.Err, Report: reports[i]}
		r.Locks = append(r.Locks, l)
		if letter := l.letter(); letter != "" && (r.Letter == "" || checklist.AtLeast(r.Letter, letter)) {
			r.Letter = letter
		}
	}
	r.Headline = r.headline()
	return r
}

// audited: something was tested, or the audit at least came to its end.
func (l RolledLock) audited() bool {
	return l.Report != nil && (l.Err == "" || l.Report.Grade.Tested > 0)
}

func (l RolledLock) letter() string {
	if l.Report == nil {
		return ""
	}
	return l.Report.Grade.Letter
}

// letterOr is the letter, or a dash.
func (l RolledLock) letterOr() string {
	if letter := l.letter(); letter != "" {
		return letter
	}
	return "–"
}

// words is the lock's result in one line.
func (l RolledLock) words() string {
	switch {
	case !l.audited() && l.Report != nil && len(l.Report.Residue) > 0:
		return l.Report.Headline + "; not audited: " + l.Err
	case !l.audited() && l.Err != "":
		return "not audited: " + l.Err
	case !l.audited():
		return "not audited"
	case l.Err != "":
		return l.Report.Headline + "; the audit did not come to its end: " + l.Err
	}
	return l.Report.Headline
}

// headline leads with the worst lock, and counts what was not audited.
func (r Rollup) headline() string {
	counts := map[string]int{}
	missing := 0
	var worst *RolledLock
	for i := range r.Locks {
		l := &r.Locks[i]
		if l.audited() {
			counts[l.letter()]++
		} else {
			missing++
		}
		if !l.audited() && (l.Report == nil || len(l.Report.Residue) == 0) {
			continue
		}
		if worst == nil || worseLock(*l, *worst) {
			worst = l
		}
	}
	text := ""
	for _, letter := range []string{"A", "B", "C", "D", "F", ""} {
		if n := counts[letter]; n > 0 {
			word := letter
			if letter == "" {
				word = "without a letter"
			}
			text += fmt.Sprintf(", %d %s", n, word)
		}
	}
	if missing > 0 {
		text += fmt.Sprintf(", %d not audited", missing)
	}
	text = locksOf(len(r.Locks)) + ": " + text[min(2, len(text)):]
	if worst != nil && worstFinding(worst.Report.Findings) != nil || worst != nil && len(worst.Report.Residue) > 0 {
		text += "; " + worst.Name + ": " + worst.Report.Headline
	}
	return text
}

func locksOf(n int) string {
	if n == 1 {
		return "1 lock"
	}
	return fmt.Sprintf("%d locks", n)
}

// worseLock: a fault that may remain is worse than any letter, and a letter than none.
func worseLock(x, y RolledLock) bool {
	if a, b := len(x.Report.Residue) > 0, len(y.Report.Residue) > 0; a != b {
		return a
	}
	a, b := x.letter(), y.letter()
	switch {
	case a == b:
		f, g := worstFinding(x.Report.Findings), worstFinding(y.Report.Findings)
		return f != nil && (g == nil || rank(*f) > rank(*g))
	case a == "" || b == "":
		return b == ""
	}
	return checklist.AtLeast(b, a)
}

// worstOf are the findings of a lock that the page names.
func (l RolledLock) worstOf() []checklist.Finding {
	if l.Report == nil {
		return nil
	}
	all := troubledFirst(l.Report.Findings)
	return all[:min(len(all), worstShown)]
}

// more is how many it does not name.
func (l RolledLock) more() int {
	if l.Report == nil {
		return 0
	}
	return len(troubledFirst(l.Report.Findings)) - len(l.worstOf())
}

// residue are the faults that may still be in effect, of any lock.
func (r Rollup) residue() []record.Residue {
	var out []record.Residue
	for _, l := range r.Locks {
		if l.Report != nil {
			out = append(out, l.Report.Residue...)
		}
	}
	return out
}

// RollupJSON writes the page as docs/schema/rollup.schema.json describes it.
func RollupJSON(w io.Writer, r Rollup) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	if err := out.Encode(r); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// RollupJUnit writes one suite per lock; one that was not audited has an error.
func RollupJUnit(w io.Writer, r Rollup) error {
	var suites []junitSuite
	for _, l := range r.Locks {
		s := junitSuite{Name: oneLine(l.Name), Timestamp: r.Started.UTC().Format(junitTime)}
		if l.Report != nil {
			s = junitOf(*l.Report)
		} else if text := ownerWords(l.Owner); text != "" {
			s.Property = append(s.Property, junitProperty{"owner", oneLine(text)})
		}
		if l.Err != "" || l.Report == nil {
			s.Cases = append([]junitCase{{Class: "lockaudit.run", Name: "the lock was audited", Error: &junitResult{
				Message: oneLine(l.words()), Type: "run",
			}}}, s.Cases...)
		}
		suites = append(suites, s)
	}
	return writeJUnit(w, suites)
}
