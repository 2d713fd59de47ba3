package probes

import (
	"strings"
	"testing"
	"time"
)

// A dry run of a plan without resource and without lock nodes lists no fault that the
// audit would not inject.
func TestExplainWithoutWhatIsNeeded(t *testing.T) {
	p := Params{Key: "k", Scope: "s", TTL: 2 * time.Second, NodeA: "a", NodeB: "b", LockPeers: []string{"10.0.0.1"}, LockPorts: []int{2379}}
	nothing := map[string]string{
		"token-battery": "no resource", "replay-operation": "no resource", "pause-holder-past-ttl": "no resource",
		"lost-update": "no resource", "partition-holder-past-ttl": "no resource", "delay-write-in-flight": "no resource",
		"double-execution": "no resource", "isolate-lock-leader": "0 nodes", "partition-lock-servers": "0 nodes",
	}
	for _, probe := range All() {
		lines := strings.Join(probe.Explain(p), "\n")
		want, skipped := nothing[probe.Name]
		if skipped && (!strings.HasPrefix(lines, "nothing: ") || !strings.Contains(lines, want)) {
			t.Errorf("%s: %q, want that it does nothing, for %s", probe.Name, lines, want)
		}
		if strings.Contains(lines, "[]") {
			t.Errorf("%s names an empty list: %q", probe.Name, lines)
		}
	}
	p.HasResource, p.ResourcePeers, p.ResourcePorts = true, []string{"10.0.0.2"}, []int{80}
	p.LockNodes = []string{"l1", "l2", "l3"}
	for name := range nothing {
		probe, _ := ByName(name)
		if lines := strings.Join(probe.Explain(p), "\n"); strings.HasPrefix(lines, "nothing") {
			t.Errorf("%s has all that it needs and says %q", name, lines)
		}
	}
}
