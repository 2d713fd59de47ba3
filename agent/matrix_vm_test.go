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
	kind  string
	cells cells
}

func vmRows() []vmRow {
	byHand := byHeal
	byHand.within = "when it is run"
	killsThenByHand := killsThenHeal
	killsThenByHand.within = after(agentSlack) + ", when it is run"
	row := journalUndoes().with(bothKilled, byHand).with(bothStopped, killsThenByHand)
	return []vmRow{
		{"degrade", row},
		{"clock-node", row.with(rebooted, healer{who: "the hardware's clock", within: "nothing is touched"})},
	}
}

// TestVMRows: each cell of those rows is one that the tests in the machines make happen:
// TestVMIsReverted by the endings, and TestVMReboot, of the faults that each lists.
func TestVMRows(t *testing.T) {
	const dir = "../cmd/lockaudit-agent"
	for _, test := range []string{"TestVMIsReverted", "TestVMReboot"} {
		if !declares(t, dir, test) {
			t.Errorf("no function %s in %s", test, dir)
		}
	}
	ended, undone, rebooting := literals(t, dir, "endings"), literals(t, dir, "undones"), literals(t, dir, "rebootFaults")
	for e := agentKilled; e < rebooted; e++ {
		if !ended[e.String()] {
			t.Errorf("%s is not made to happen", e)
		}
	}
	for _, r := range vmRows() {
		if !undone[r.kind] || !rebooting[r.kind] {
			t.Errorf("%s is among what is undone: %v, and among what a reboot ends: %v", r.kind, undone[r.kind], rebooting[r.kind])
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
