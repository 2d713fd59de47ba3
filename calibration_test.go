package lockaudit

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/checklist"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/lab"
	"github.com/lockaudit/lockaudit/probes"
	"github.com/lockaudit/lockaudit/record"
)

// TestEveryItemHasItsRightVerdict: an item without a known right outcome on the
// labs would be a grader that nobody has calibrated.
func TestEveryItemHasItsRightVerdict(t *testing.T) {
	for _, l := range lab.All() {
		verdicts := l.Verdicts()
		if len(verdicts) != len(checklist.Items()) {
			t.Errorf("%s: %d verdicts for %d items", l.Name, len(verdicts), len(checklist.Items()))
			continue
		}
		for i, item := range checklist.Items() {
			if verdicts[i].Item != item.ID {
				t.Errorf("%s: row %d is %s, the item there is %s", l.Name, i+1, verdicts[i].Item, item.ID)
			}
		}
	}
}

// calibration is how the findings of one demo compare with the right verdicts.
type calibration struct {
	// wrong verdicts say what is not so; there is never an excuse for one.
	wrong []string
	// unshown: the run did not show what it should have. A machine that stood still
	// for a second leaves trials unfinished and leases with little margin, and the
	// honest verdict on such a run is a weaker one.
	unshown []string
}

// calibrate compares every finding of the records in runs, one of each lab, with
// the lab's right verdict.
func calibrate(t *testing.T, runs string) calibration {
	t.Helper()
	var c calibration
	for _, l := range lab.All() {
		found, err := filepath.Glob(filepath.Join(runs, "*-"+l.Name, "report.json"))
		if err != nil || len(found) != 1 {
			c.unshown = append(c.unshown, fmt.Sprintf("%s: %d reports, want 1: %v", l.Name, len(found), err))
			continue
		}
		data, err := os.ReadFile(found[0])
		if err != nil {
			t.Fatal(err)
		}
		var report struct {
			Findings []checklist.Finding `json:"findings"`
		}
		if err := json.Unmarshal(data, &report); err != nil {
			t.Fatal(err)
		}
		got := map[string]checklist.Finding{}
		for _, f := range report.Findings {
			got[f.Item] = f
		}
		run, err := record.Load(filepath.Dir(found[0]))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range l.Verdicts() {
			if want.Item == "lease_fits_pauses" {
				want.Outcome = onThisMachine(want.Outcome, leaseVerdict(run))
			}
			c.compare(l.Name, want, got[want.Item])
		}
	}
	return c
}

// leaseVerdict is the right verdict of lease_fits_pauses, which is about the machine:
// a lease of 2 s that is renewed every third leaves 1.33 s, of which half is margin.
func leaseVerdict(run record.Run) string {
	longest := map[string]time.Duration{}
	for _, probe := range []string{"measure-pauses", "measure-network"} {
		for _, e := range run.Histories[probe] {
			if e.Op == history.OpMeasure && e.Sample != nil && e.Type == history.OK {
				longest[probe] = max(longest[probe], time.Duration(e.Sample.Max))
			}
		}
	}
	need := longest["measure-pauses"] + longest["measure-network"]
	lease := run.Manifest.Subject.TTL
	budget := lease * 2 / 3
	switch {
	case need >= lease:
		return "fail"
	case need > budget/2:
		return "warn"
	}
	return "pass"
}

// onThisMachine is the right verdict of a lease where the machine is what it is: no better
// than its own, and no better than the lab's.
func onThisMachine(right, machine string) string {
	if right == "pass" || right == "warn" && machine == "fail" {
		return machine
	}
	return right
}

func (c *calibration) compare(name string, want lab.Verdict, f checklist.Finding) {
	got := f.Outcome.String()
	line := fmt.Sprintf("%s: %s is %s, the right verdict is %s: %s", name, want.Item, got, want.Outcome, f.Summary)
	switch {
	case got == want.Outcome:
	case f.Outcome == checklist.Inconclusive,
		want.Outcome == "pass" && f.Outcome == checklist.Warn:
		c.unshown = append(c.unshown, line)
	default:
		c.wrong = append(c.wrong, line)
	}
}

// TestCalibrationKnowsWrongFromUnshown: a pass on a bad lab and a failure on a good
// one are wrong at once; only weaker verdicts may be tried again.
func TestCalibrationKnowsWrongFromUnshown(t *testing.T) {
	for _, tt := range []struct {
		item, want     string
		got            checklist.Outcome
		wrong, unshown int
	}{
		{"x", "pass", checklist.Pass, 0, 0},
		{"x", "fail", checklist.Pass, 1, 0},
		{"x", "warn", checklist.Pass, 1, 0},
		{"x", "pass", checklist.Fail, 1, 0},
		{"x", "inconclusive", checklist.Pass, 1, 0},
		{"x", "inconclusive", checklist.Fail, 1, 0},
		{"x", "fail", checklist.Warn, 1, 0},
		{"x", "pass", checklist.Warn, 0, 1},
		{"x", "pass", checklist.Inconclusive, 0, 1},
		{"x", "fail", checklist.Inconclusive, 0, 1},
		{"lease_fits_pauses", "warn", checklist.Fail, 1, 0},
	} {
		var c calibration
		c.compare("lab", lab.Verdict{Item: tt.item, Outcome: tt.want}, checklist.Finding{Outcome: tt.got})
		if len(c.wrong) != tt.wrong || len(c.unshown) != tt.unshown {
			t.Errorf("%s for %s: wrong %v, unshown %v", tt.got, tt.want, c.wrong, c.unshown)
		}
	}
}

// TestLabsKnowEveryProbe: a lab that leaves some out names all the others.
func TestLabsKnowEveryProbe(t *testing.T) {
	var all []string
	for _, p := range probes.All() {
		all = append(all, p.Name)
	}
	if got := lab.Probes(); !slices.Equal(got, all) {
		t.Errorf("the labs know the probes %v, there are %v", got, all)
	}
}
