package examples_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/lockaudit/lockaudit/lab"
)

// applications puts the applications where `make examples` does: beside locklab.
func applications(t *testing.T) {
	t.Helper()
	at := filepath.Join(programs(t), "examples")
	buildExample(t, "job", filepath.Join(at, "job", "billing"))
	buildExample(t, "migrate", filepath.Join(at, "migrate", "migrate"))
	for to, from := range map[string]string{"migrate/sql": "migrate/sql", "inventory": installed(t, "inventory")} {
		if err := os.CopyFS(filepath.Join(at, to), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
}

// right are the known right verdicts of the labs of applications, beside their letters:
// what the application's own processes were seen to do.
func right() map[string]map[string]string {
	single := map[string]string{"consensus_backed": "fail", "not_single_instance": "fail", "no_double_grant": "pass"}
	with := func(more map[string]string) map[string]string {
		for item, outcome := range single {
			if more[item] == "" {
				more[item] = outcome
			}
		}
		return more
	}
	return map[string]map[string]string{
		"example-job":        with(map[string]string{"fencing_enforced": "fail", "not_ttl_only": "fail"}),
		"example-job-fenced": with(map[string]string{"fencing_enforced": "pass", "not_ttl_only": "pass"}),
		"example-inventory":  with(map[string]string{"fencing_enforced": "fail", "not_ttl_only": "fail"}),
		"example-migrate":    with(map[string]string{"fencing_enforced": "pass", "not_ttl_only": "pass", "consensus_backed": "pass", "not_single_instance": "pass"}),
	}
}

// TestApplicationsAreAudited: the applications of examples/ know nothing of lockaudit.
// Their own processes are paused while they hold the lock, and what they write late is
// seen: accepted, or refused by their own database.
func TestApplicationsAreAudited(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test makes namespaces and must be run as root")
	}
	t.Parallel()
	applications(t)
	w := newWorkplace(t)
	t.Cleanup(func() { w.run(t, "locklab", "down", "--all") })
	var all sync.WaitGroup
	for _, l := range lab.Applications() {
		want := right()[l.Name]
		if want == nil {
			t.Errorf("no right verdicts for %s", l.Name)
			continue
		}
		all.Go(func() {
			t.Run(l.Name, func(t *testing.T) {
				// A machine that stands still leaves trials unfinished, and an honest verdict
				// on such a run is a weaker one. A wrong one has no excuse.
				var missing []string
				for range 3 {
					if missing = w.audited(t, l, want); len(missing) == 0 || t.Failed() {
						return
					}
				}
				t.Errorf("not shown in three audits:\n%s", strings.Join(missing, "\n"))
			})
		})
	}
	all.Wait()
}

// audited raises a lab and audits it. It returns what the audit did not show.
func (w workplace) audited(t *testing.T, l lab.Lab, want map[string]string) (missing []string) {
	t.Helper()
	if _, errs, status := w.run(t, "locklab", "up", l.Name); status != 0 {
		t.Fatalf("locklab up %s: %s", l.Name, errs)
	}
	out, errs, status := w.run(t, "lockaudit", "audit", filepath.Join(w.dir, "labs", l.Name, "plan.yaml"), "-f", "json", "--trials", "2")
	if out == "" {
		return []string{fmt.Sprintf("exit status %d: %s", status, errs)}
	}
	r := readReport(t, out)
	for item, outcome := range want {
		switch got := r.outcome(item); got {
		case outcome:
		case "inconclusive":
			missing = append(missing, fmt.Sprintf("%s: %s is inconclusive: %s\n%s", l.Name, item, r.summary(item), errs))
		default:
			t.Errorf("%s: %s is %s, the right verdict is %s: %s", l.Name, item, got, outcome, r.summary(item))
		}
	}
	if len(missing) == 0 && r.Grade.Letter != l.Letter && !(l.Letter == "B" && r.outcome("lease_fits_pauses") == "fail") {
		t.Errorf("%s: letter %s, the right one is %s", l.Name, r.Grade.Letter, l.Letter)
	}
	return missing
}

func (r report) summary(item string) string {
	for _, f := range r.Findings {
		if f.Item == item {
			return f.Summary
		}
	}
	return ""
}
