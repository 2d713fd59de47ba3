package checklist

import (
	"errors"
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

func finding(s Severity, o Outcome, harm bool) Finding {
	return Finding{Item: string(s) + "_" + o.String(), Severity: s, Outcome: o, Harm: harm}
}

// ran is a complete run in which something acted.
func ran() record.Run {
	return record.Run{
		Manifest:  record.Manifest{Status: record.Complete},
		Histories: map[string][]history.Event{contend: {{Seq: 1}}},
	}
}

func TestGrade(t *testing.T) {
	pass := finding(Critical, Pass, false)
	passive := ran()
	passive.Manifest.Subject.Passive = true
	looked := ran()
	looked.Histories = map[string][]history.Event{inspect: {{Seq: 1}}}
	for _, c := range []struct {
		name     string
		run      record.Run
		findings []Finding
		want     string
	}{
		{"all pass", ran(), []Finding{pass}, "A, 1 of 1 items tested"},
		{"warning", ran(), []Finding{pass, finding(Critical, Warn, false)}, "B, 2 of 2 items tested"},
		{"minor fails", ran(), []Finding{pass, finding(Minor, Fail, false)}, "B, 2 of 2 items tested"},
		{"major fails", ran(), []Finding{pass, finding(Major, Fail, false), finding(Minor, Fail, false)}, "C, 3 of 3 items tested"},
		{"critical fails", ran(), []Finding{finding(Critical, Fail, false), finding(Major, Fail, false)}, "D, 2 of 2 items tested"},
		{"harm", ran(), []Finding{pass, finding(Major, Fail, true)}, "F, 2 of 2 items tested"},
		{"advice costs nothing", ran(), []Finding{pass, finding(Advice, Fail, false)}, "A, 2 of 2 items tested"},
		{"not applicable is not counted", ran(), []Finding{pass, finding(Critical, NotApplicable, false)}, "A, 1 of 1 items tested"},
		{"untested is never in the letter", ran(), []Finding{pass, finding(Critical, Inconclusive, false), finding(Minor, Inconclusive, false)},
			"A, 1 of 3 items tested; untested critical: critical_inconclusive"},
		{"undecided is not untested", ran(), []Finding{pass, finding(Critical, Inconclusive, false), undecided()},
			"A, 1 of 3 items tested; untested critical: critical_inconclusive; undecided critical: looked_at"},
		{"nothing tested", ran(), []Finding{finding(Minor, Inconclusive, false)}, "no letter, 0 of 1 items tested"},
		{"passive", passive, []Finding{pass}, "no letter, 1 of 1 items tested"},
		{"only inspection left a record", looked, []Finding{pass}, "no letter, 1 of 1 items tested"},
	} {
		if got := GradeOf(c.findings, c.run).String(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// undecided was looked at, and nothing came of it.
func undecided() Finding {
	f := finding(Critical, Inconclusive, false)
	f.Item, f.Tested = "looked_at", true
	return f
}

func TestExitStatus(t *testing.T) {
	pass, warn := finding(Critical, Pass, false), finding(Minor, Warn, false)
	minor, open := finding(Minor, Fail, false), finding(Critical, Inconclusive, false)
	residue := ran()
	residue.Manifest.Residue = []record.Residue{{Node: "a"}}
	interrupted := ran()
	interrupted.Manifest.Status = record.Interrupted
	passive := ran()
	passive.Manifest.Subject.Passive = true
	for _, c := range []struct {
		name     string
		run      record.Run
		findings []Finding
		want     Want
		status   int
	}{
		{"pass", ran(), []Finding{pass, warn}, Want{}, ExitOK},
		{"a failed item", ran(), []Finding{pass, minor}, Want{}, ExitFail},
		{"failed advice", ran(), []Finding{pass, finding(Advice, Fail, false)}, Want{}, ExitOK},
		{"a failed item within the wanted letter", ran(), []Finding{pass, minor}, Want{Letter: "B"}, ExitOK},
		{"below the wanted letter", ran(), []Finding{pass, warn}, Want{Letter: "A"}, ExitFail},
		{"nothing tested", ran(), []Finding{open}, Want{}, ExitInconclusive},
		{"no letter, one wanted", ran(), []Finding{open}, Want{Letter: "D"}, ExitInconclusive},
		{"a passive run has no letter", passive, []Finding{pass}, Want{Letter: "F"}, ExitInconclusive},
		{"a passive run that found nothing", passive, []Finding{pass}, Want{}, ExitOK},
		{"critical coverage missing", ran(), []Finding{pass, open}, Want{Critical: true}, ExitInconclusive},
		{"critical coverage undecided", ran(), []Finding{pass, undecided()}, Want{Critical: true}, ExitInconclusive},
		{"critical coverage reached", ran(), []Finding{pass, finding(Minor, Inconclusive, false)}, Want{Critical: true}, ExitOK},
		{"all wanted", ran(), []Finding{pass, finding(Minor, Inconclusive, false)}, Want{All: true}, ExitInconclusive},
		{"two wanted", ran(), []Finding{pass, open}, Want{Tested: 2}, ExitInconclusive},
		{"failure outranks coverage", ran(), []Finding{minor, open}, Want{All: true}, ExitFail},
		{"interrupted", interrupted, []Finding{pass}, Want{}, ExitInconclusive},
		{"interrupted after a failure", interrupted, []Finding{minor}, Want{}, ExitFail},
		{"residue outranks all", residue, []Finding{minor}, Want{}, ExitResidue},
	} {
		if got := ExitStatus(c.run, c.findings, GradeOf(c.findings, c.run), c.want); got != c.status {
			t.Errorf("%s: %d, want %d", c.name, got, c.status)
		}
	}
}

func TestAtLeast(t *testing.T) {
	const order = "ABCDF"
	for i := range order {
		for j := range order {
			if got := AtLeast(order[i:i+1], order[j:j+1]); got != (i <= j) {
				t.Errorf("AtLeast(%c, %c) = %v", order[i], order[j], got)
			}
		}
	}
	if AtLeast("", "F") || AtLeast("A", "") || AtLeast("AB", "F") {
		t.Error("what is no letter is not good enough")
	}
}

func TestParseWishes(t *testing.T) {
	if got, err := ParseLetter(" b "); got != "B" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"", "E", "AB", "a+"} {
		if _, err := ParseLetter(bad); !errors.Is(err, ErrWant) {
			t.Errorf("letter %q: %v", bad, err)
		}
	}
	for in, want := range map[string]Want{"": {}, "critical": {Critical: true}, "all": {All: true}, "12": {Tested: 12}} {
		var w Want
		if err := w.ParseCoverage(in); err != nil || w != want {
			t.Errorf("coverage %q: %+v, %v", in, w, err)
		}
	}
	for _, bad := range []string{"most", "-1", "18", "1.5"} {
		var w Want
		if err := w.ParseCoverage(bad); !errors.Is(err, ErrWant) || !strings.Contains(err.Error(), bad) {
			t.Errorf("coverage %q: %v", bad, err)
		}
	}
}
