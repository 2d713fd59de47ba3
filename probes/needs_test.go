package probes

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// TestNeeds: what keeps a probe from being carried out is said in a dry run, demands no
// fault, and skips the probe in an audit.
func TestNeeds(t *testing.T) {
	whole := Params{
		Key: "k", Scope: "s", TTL: 2 * time.Second, NodeA: "a", NodeB: "b", HasResource: true, Majority: true,
		LockPeers: []string{"10.0.0.1"}, LockPorts: []int{2379}, ResourcePeers: []string{"10.0.0.9"}, ResourcePorts: []int{80},
		LockNodes: []string{"l1", "l2", "l3"},
	}
	with := func(change func(*Params)) Params { p := whole; change(&p); return p }
	for _, c := range []struct {
		name string
		p    Params
		want map[string]string // by probe; none for the others
	}{
		{"whole", whole, nil},
		{"names that are looked up later", with(func(p *Params) { p.LockPeers, p.PeersUnknown, p.PeersLater = nil, "the name is looked up later", true }), nil},
		{"loopback", with(func(p *Params) { p.LockPeers, p.PeersUnknown = nil, "127.0.0.1 is a loopback address" }), map[string]string{
			"partition-holder-past-ttl": "loopback", "delay-write-in-flight": "loopback", "lose-acquire-reply": "loopback", "lose-node": "loopback",
		}},
		{"one machine", with(func(p *Params) { p.ResourcePeers = p.LockPeers }), map[string]string{
			"partition-holder-past-ttl": "share the address 10.0.0.1", "delay-write-in-flight": "share the address 10.0.0.1",
		}},
		{"one machine and one server", with(func(p *Params) { p.ResourcePeers, p.LockNodes = p.LockPeers, nil }), map[string]string{
			"partition-holder-past-ttl": "share", "delay-write-in-flight": "share", "double-execution": "share",
			"isolate-lock-leader": "0 nodes", "partition-lock-servers": "0 nodes",
		}},
		{"one node", with(func(p *Params) { p.NodeB = "a" }), map[string]string{
			"lose-node": "both clients are on node a", "double-execution": "both clients are on node a", "partition-lock-servers": "both clients are on node a",
		}},
		{"two servers that vote", with(func(p *Params) { p.LockNodes = p.LockNodes[:2] }), map[string]string{
			"isolate-lock-leader": "2 nodes of the lock service, at least 3", "partition-lock-servers": "2 nodes of the lock service, at least 3",
		}},
		{"two servers that do not", with(func(p *Params) { p.LockNodes, p.Majority = p.LockNodes[:2], false }), map[string]string{
			"isolate-lock-leader": "2 nodes of the lock service, at least 3",
		}},
	} {
		for _, probe := range All() {
			if len(probe.needs) == 0 {
				continue
			}
			line, want := probe.Explain(c.p)[0], c.want[probe.Name]
			if got := strings.HasPrefix(line, "nothing: "); got != (want != "") || !strings.Contains(line, want) {
				t.Errorf("%s: %s explains %q", c.name, probe.Name, line)
			}
			if want == "" {
				continue
			}
			if probe.Demands != nil && len(probe.Demands(c.p)) > 0 {
				t.Errorf("%s: %s demands faults all the same", c.name, probe.Name)
			}
			// It has no stage: whoever goes on comes to grief.
			if err := probe.Trial(t.Context(), &Trial{Params: c.p}); !errors.Is(err, ErrSkip) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %s: %v", c.name, probe.Name, err)
			}
		}
	}
}

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
