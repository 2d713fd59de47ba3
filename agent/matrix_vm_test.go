package agent

import (
	"go/ast"
	"go/token"
	"path/filepath"
	"strconv"
	"testing"
)

// vmRow is a row of docs/safety.md whose cells are made to happen in virtual machines,
// because the fault must not be in effect on the machine that runs the tests, or cannot.
type vmRow struct {
	kind         string
	cells        cells
	test, reboot string // in cmd/lockaudit-agent; without reboot the cell is not tested
}

func vmRows() []vmRow {
	byHand := byHeal
	byHand.within = "when it is run"
	killsThenByHand := killsThenHeal
	killsThenByHand.within = after(agentSlack) + ", when it is run"
	row := journalUndoes().with(bothKilled, byHand).with(bothStopped, killsThenByHand)
	return []vmRow{
		{"degrade", row.with(rebooted, notTested), "TestVMDegradeIsReverted", ""},
		{"clock-node", row.with(rebooted, healer{who: "the hardware's clock", within: "nothing is touched"}), "TestVMNodeClockIsReverted", "TestVMNodeClockReboot"},
	}
}

var notTested = healer{who: "not tested"}

// TestVMRows: each cell of those rows is one that the tests in the machines name.
func TestVMRows(t *testing.T) {
	const dir = "../cmd/lockaudit-agent"
	made := literals(t, dir, "endings")
	for _, r := range vmRows() {
		for _, test := range []string{r.test, r.reboot} {
			if test != "" && !declares(t, dir, test) {
				t.Errorf("%s: no function %s in %s", r.kind, test, dir)
			}
		}
		for e := agentKilled; e <= rebooted; e++ {
			tested := made[e.String()]
			if e == rebooted {
				tested = r.reboot != ""
			}
			if said := r.cells[e] != notTested; said != tested {
				t.Errorf("%s, %s: docs/safety.md says tested: %v, and it is: %v", r.kind, e, said, tested)
			}
		}
	}
}

// literals are the strings in a function.
func literals(t *testing.T, dir, name string) map[string]bool {
	t.Helper()
	fn := function(t, dir, name)
	if fn == nil {
		t.Fatalf("no function %s in %s", name, filepath.Clean(dir))
	}
	out := map[string]bool{}
	ast.Inspect(fn, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			s, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			out[s] = true
		}
		return true
	})
	return out
}
