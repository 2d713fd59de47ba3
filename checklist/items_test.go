package checklist

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lockaudit/lockaudit/record"
)

// impossible lists the outcomes that an item cannot have yet, so that a missing
// fixture is a decision and not an oversight.
var impossible = map[string][]string{}

// warnsAtWorst are the items whose worst verdict is a warning.
var warnsAtWorst = []string{"notices_loss", "idempotency_could_replace_lock"}

func load(t *testing.T, dir string) record.Run {
	t.Helper()
	run, err := record.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(run.Damage) > 0 {
		t.Fatalf("fixture %s is damaged: %q", dir, run.Damage)
	}
	return run
}

func TestItemsJudgeTheirFixtures(t *testing.T) {
	for _, item := range Items() {
		for _, name := range []string{"pass", "fail", "inconclusive"} {
			t.Run(item.ID+"/"+name, func(t *testing.T) {
				dir := filepath.Join("testdata", item.ID, name)
				_, err := os.Stat(dir)
				if slices.Contains(impossible[item.ID], name) {
					if err == nil {
						t.Fatalf("%s exists, so it is not impossible: take it off the list", dir)
					}
					return
				}
				if err != nil {
					t.Fatalf("item without its fixture: %v", err)
				}
				want := map[string]Outcome{"pass": Pass, "fail": Fail, "inconclusive": Inconclusive}[name]
				if name == "fail" && slices.Contains(warnsAtWorst, item.ID) {
					want = Warn
				}
				f := judge(item, load(t, dir))
				if f.Outcome != want {
					t.Fatalf("outcome %s, want %s: %s", f.Outcome, want, f.Summary)
				}
				if f.Summary == "" || f.Question == "" || f.Why == "" {
					t.Errorf("a person cannot read %+v", f)
				}
				if f.Outcome != Inconclusive && len(f.Evidence) == 0 {
					t.Errorf("verdict without evidence")
				}
				if (f.Outcome == Fail || f.Outcome == Warn) && (f.Fix == "" || f.Reproduce == "") {
					t.Errorf("bad news without a way out: fix %q, reproduce %q", f.Fix, f.Reproduce)
				}
			})
		}
	}
}

// TestNoStrayFixtures: a fixture of an item that was renamed would test nothing.
func TestNoStrayFixtures(t *testing.T) {
	dirs, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if _, ok := ByID(d.Name()); !ok {
			t.Errorf("testdata/%s belongs to no item", d.Name())
		}
	}
}

func TestItemsAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, item := range Items() {
		if seen[item.ID] {
			t.Errorf("%s is listed twice", item.ID)
		}
		seen[item.ID] = true
		if item.Question == "" || item.Why == "" || item.Severity == "" || len(item.Probes) == 0 || item.Fix[""] == "" {
			t.Errorf("%s lacks a question, a reason, a severity, a probe or a general fix", item.ID)
		}
	}
	if len(seen) != 17 {
		t.Errorf("%d items, the checklist has 17", len(seen))
	}
}

func TestPanickingJudgeIsInconclusive(t *testing.T) {
	run := load(t, filepath.Join("testdata", "fencing_enforced", "pass"))
	item, _ := ByID("fencing_enforced")
	item.Judge = func(record.Run) Finding { panic("boom") }
	f := judge(item, run)
	if f.Outcome != Inconclusive || f.Summary != "the judge of this item broke down: boom" || f.Item != item.ID {
		t.Fatalf("%+v", f)
	}
}
