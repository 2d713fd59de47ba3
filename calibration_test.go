package lockaudit

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/lockaudit/lockaudit/checklist"
	"github.com/lockaudit/lockaudit/lab"
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

// calibrated compares every finding of the records in runs, one of each lab, with
// the lab's right verdict.
func calibrated(t *testing.T, runs string) {
	t.Helper()
	for _, l := range lab.All() {
		found, err := filepath.Glob(filepath.Join(runs, "*-"+l.Name, "report.json"))
		if err != nil || len(found) != 1 {
			t.Errorf("%s: %d reports, want 1: %v", l.Name, len(found), err)
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
		for _, want := range l.Verdicts() {
			if f := got[want.Item]; f.Outcome.String() != want.Outcome {
				t.Errorf("%s: %s is %s, the right verdict is %s: %s", l.Name, want.Item, f.Outcome, want.Outcome, f.Summary)
			}
		}
	}
}
