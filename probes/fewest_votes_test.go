package probes

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestFewestVotes: a majority is left to grant, and the first server that is restarted is
// one of it.
func TestFewestVotes(t *testing.T) {
	for _, c := range []struct {
		nodes   string
		votes   bool
		unasked string
	}{
		{"1 2 3 4 5", true, "4 5"},
		{"1 2 3 4", true, "4"},
		{"1 2 3", true, "3"},
		{"1 2", true, ""},
		{"1 2 3 4 5", false, ""},
	} {
		p := Params{TTL: time.Second, NodeA: "a", NodeB: "b", LockNodes: strings.Fields(c.nodes), ClientVotes: c.votes}
		p.Killable = p.LockNodes
		got := p.unasked()
		if !slices.Equal(got, strings.Fields(c.unasked)) {
			t.Errorf("%s: %v", c.nodes, got)
		}
		var cuts, kills []string
		for _, d := range restartLockServer().Demands(p) {
			switch {
			case d.Kind == partition && slices.Equal(d.PeerNodes, []string{"a"}) && d.Cut.Direction == "in":
				cuts = append(cuts, d.Node)
			case d.Kind == crash && d.Down:
				kills = append(kills, d.Node)
			default:
				t.Errorf("%+v", d)
			}
		}
		if !slices.Equal(cuts, got) || !slices.Equal(kills, p.Killable) {
			t.Errorf("%s: cuts %v, kills %v", c.nodes, cuts, kills)
		}
		if told := strings.Contains(strings.Join(restartLockServer().Explain(p), "\n"), "no more than a majority grants"); told != (c.unasked != "") {
			t.Errorf("%s: %q", c.nodes, restartLockServer().Explain(p))
		}
	}
}
