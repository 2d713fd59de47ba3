package audit

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/plan"
)

func parse(t *testing.T, more string) *plan.Plan {
	t.Helper()
	p, err := plan.Parse([]byte("name: x\nlock: {backend: redis, endpoints: [127.0.0.1:1], key: /locks/x, ttl: 2s}\n" + more))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestScheduleUsesNamesOfItsOwn(t *testing.T) {
	p := parse(t, "nodes: [{name: l, roles: [lock]}, {name: a, roles: [client]}, {name: b, roles: [client]}, {name: c, roles: [client]}]\n")
	one, err := Plan(p, Options{})
	if err != nil {
		t.Fatal(err)
	}
	two, err := Plan(p, Options{})
	if err != nil {
		t.Fatal(err)
	}
	key := one.Params.Key
	if key == p.Lock.Key || strings.HasPrefix(key, p.Lock.Key+"/") || !strings.Contains(key, "lockaudit-canary") {
		t.Errorf("key %q: must be neither the real key nor a child of it", key)
	}
	if key == two.Params.Key || one.Params.Scope == two.Params.Scope {
		t.Errorf("two runs share canary names: %q, %q", key, one.Params.Scope)
	}
	if one.Params.NodeA != "a" || one.Params.NodeB != "b" {
		t.Errorf("nodes %q and %q, want a and b", one.Params.NodeA, one.Params.NodeB)
	}
}

func TestScheduleSelects(t *testing.T) {
	tests := []struct {
		name, more string
		o          Options
		want       string // names, or the error
	}{
		{"all", "", Options{}, strings.Join(Names(), " ")},
		{"the plan's list", "probes: [contend]\n", Options{}, "contend"},
		{"the flag before the plan", "probes: [contend]\n", Options{Probes: []string{"crash-holder"}}, "crash-holder"},
		{"passive in the plan", "probes: passive\n", Options{}, "inspect-deployment measure-network measure-pauses measure-renewals"},
		{"inspect", "", Options{Passive: true}, "inspect-deployment measure-network measure-pauses measure-renewals"},
		{"inspect, of a list what looks", "probes: [contend, measure-network]\n", Options{Passive: true}, "measure-network"},
		{"inspect, of a list that only acts", "probes: [contend]\n", Options{Passive: true}, "inspect-deployment measure-network measure-pauses measure-renewals"},
		{"inspect, of a list with a mistake", "probes: [contend, measure-netwrk]\n", Options{Passive: true}, `unknown probe "measure-netwrk"`},
		{"inspect does not act", "", Options{Passive: true, Probes: []string{"contend"}}, "probe contend is not passive"},
		{"unknown", "", Options{Probes: []string{"five-steps"}}, `unknown probe "five-steps"`},
		{"fault too long", "safety: {max_fault: 5s}\n", Options{}, "refused for safety"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Plan(parse(t, tt.more), tt.o)
			var names []string
			for _, p := range s.Probes {
				names = append(names, p.Name)
			}
			got := strings.Join(names, " ")
			if err != nil {
				got = err.Error()
			}
			if err == nil && got != tt.want || err != nil && !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestEveryFaultIsBounded: a probe that orders a fault says for how long at most,
// and the plan's cap refuses it before anything is touched.
func TestEveryFaultIsBounded(t *testing.T) {
	p := parse(t, "")
	s, err := Plan(p, Options{})
	if err != nil {
		t.Fatal(err)
	}
	bounded := 0
	for _, probe := range s.Probes {
		if probe.MaxFault == nil {
			continue
		}
		bounded++
		limit := probe.MaxFault(s.Params)
		p.Safety.MaxFault = limit - time.Millisecond
		if _, err := Plan(p, Options{Probes: []string{probe.Name}}); !errors.Is(err, ErrUnsafe) {
			t.Errorf("%s with a cap below its %s: %v, want ErrUnsafe", probe.Name, limit, err)
		}
		p.Safety.MaxFault = limit
		if _, err := Plan(p, Options{Probes: []string{probe.Name}}); err != nil {
			t.Errorf("%s with a cap of exactly its %s: %v", probe.Name, limit, err)
		}
	}
	if bounded == 0 {
		t.Error("no probe says how long its faults are")
	}
}
