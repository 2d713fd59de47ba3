package checklist

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/checklist.md")

const docsFile = "../docs/checklist.md"

// TestDocsAreCurrent: docs/checklist.md is made from the items and never by hand.
func TestDocsAreCurrent(t *testing.T) {
	want := docs()
	if *update {
		if err := os.WriteFile(docsFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not current: run go test ./checklist -run Docs -update", docsFile)
	}
}

func docs() string {
	var b strings.Builder
	b.WriteString(`# The checklist

Made from the items in checklist/ by ` + "`go test ./checklist -run Docs -update`" + `; do not edit.

Each item is a question whose good answer is yes. Its outcome is **pass**, **warn**, **fail**, **inconclusive** or **not-applicable**. A pass cites the events that show that the danger was real; without them the item is inconclusive, and what was not tested is never passed.

| letter | meaning |
|---|---|
| A | every tested item passes |
| B | warnings or minor failures only |
| C | a major item fails |
| D | a critical item fails, no harm seen |
| F | harm seen: an accepted stale write, a double grant, a double execution, a lost update |

Beside the letter stands the coverage, and the two are never mixed. A passive inspection has no letter. Advice costs nothing. For a lock with ` + "`purpose: efficiency`" + ` the items marked (fencing) are advice.

`)
	b.WriteString("| item | question | severity | judged from |\n|---|---|---|---|\n")
	for _, item := range Items() {
		severity := string(item.Severity)
		if item.Fencing {
			severity += " (fencing)"
		}
		from := strings.Join(item.Probes, ", ")
		if len(item.Beside) > 0 {
			from += "; beside them " + strings.Join(item.Beside, ", ")
		}
		if item.Judge == nil {
			from += " (not in this version)"
		}
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s | %s |\n", item.ID, item.ID, item.Question, severity, from)
	}
	for _, item := range Items() {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n*Fix:*\n\n", item.ID, item.Why)
		for _, backend := range slices.Sorted(maps.Keys(item.Fix)) {
			name := backend
			if backend == "" {
				name = "any other backend"
				if len(item.Fix) == 1 {
					name = "any backend"
				}
			}
			fmt.Fprintf(&b, "- %s: %s\n", name, item.Fix[backend])
		}
	}
	return b.String()
}
