package checklist

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/record"
)

// fencingFails is a run with harm, and one waiver of it.
func fencingFails(t *testing.T, until string) (record.Run, []Finding, Grade) {
	t.Helper()
	run := load(t, filepath.Join("testdata", "fencing_enforced", "fail"))
	run.Manifest.Started = time.Date(2026, 11, 23, 23, 59, 59, 0, time.UTC)
	run.Manifest.Status = record.Complete
	if until != "" {
		run.Manifest.Subject.Waivers = []record.Waiver{{Item: "fencing_enforced", Owner: "jane", Reason: "r", Until: until}}
	}
	item, _ := ByID("fencing_enforced")
	findings := []Finding{judge(item, run)}
	return run, findings, GradeOf(findings, run)
}

// TestWaivers: one that holds on the day of the run takes the failure out of the exit
// status, and out of nothing else; one that is over, or never had an end, does nothing.
func TestWaivers(t *testing.T) {
	for _, tt := range []struct {
		until  string
		waived bool
	}{
		{"", false}, {"2026-11-22", false}, {"2026-11-23", true}, {"2027-01-01", true},
		{"never", false}, {"0000-00-00", false}, {"2026-13-01", false},
	} {
		run, findings, g := fencingFails(t, tt.until)
		f := findings[0]
		if f.Waived() != tt.waived || f.Outcome != Fail || !f.Harm || g.Letter != "F" || !g.Harm {
			t.Errorf("%q: waived %v, %s, letter %s", tt.until, f.Waived(), f.Outcome, g.Letter)
		}
		want := map[bool]int{true: ExitOK, false: ExitFail}[tt.waived]
		for _, w := range []Want{{}, {Letter: "B"}} {
			if got := ExitStatus(run, findings, g, w); got != want {
				t.Errorf("%q, %+v: exit status %d, want %d", tt.until, w, got, want)
			}
		}
		if tt.waived && (g.Unwaived != "A" || len(g.Waived) != 1) || !tt.waived && (g.Unwaived != "" || len(g.Waived) > 0) {
			t.Errorf("%q: unwaived %q, waived %q", tt.until, g.Unwaived, g.Waived)
		}
	}
}

// TestWaiversCoverTheirItemAlone: another failure still counts, a fault that remains
// outranks all, and what was not tested stays so.
func TestWaiversCoverTheirItemAlone(t *testing.T) {
	run, findings, _ := fencingFails(t, "2027-01-01")
	also := append(findings, Finding{Item: "x", Severity: Major, Outcome: Fail, Tested: true})
	if g := GradeOf(also, run); g.Letter != "F" || g.Unwaived != "C" || ExitStatus(run, also, g, Want{}) != ExitFail ||
		ExitStatus(run, also, g, Want{Letter: "B"}) != ExitFail || ExitStatus(run, also, g, Want{Letter: "C"}) != ExitOK {
		t.Errorf("%+v", g)
	}
	run.Manifest.Residue = []record.Residue{{Node: "a"}}
	if got := ExitStatus(run, findings, GradeOf(findings, run), Want{}); got != ExitResidue {
		t.Errorf("exit status %d with a fault that remains", got)
	}
	open := findings[0]
	open.Outcome, open.Tested = Inconclusive, false
	if g := GradeOf([]Finding{open}, run); open.Waived() || len(g.Waived) > 0 || len(g.UntestedCritical) != 1 {
		t.Errorf("a waiver made something of what was not tested: %+v", g)
	}
}
