package audit

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	crashfault "github.com/lockaudit/lockaudit/inject/crash"
	hookfault "github.com/lockaudit/lockaudit/inject/hook"
	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/probes"
)

// TestOrdersAreUnderstood: what the auditor sends is what the agent's faults decode.
func TestOrdersAreUnderstood(t *testing.T) {
	p := parse(t, `nodes:
  - {name: a, roles: [client], agent: [lockaudit-agent, --allow-commands]}
  - {name: l, roles: [lock], process: {port: 6379}, restart: [redis-server, --port, "6379"], agent: [lockaudit-agent, --allow-commands]}
hooks: {failover: {node: a, inject: [x, y], revert: [z], check: [w], timeout: 7s}}
`)
	for _, c := range []struct {
		out  probes.Outage
		down time.Duration
	}{
		{probes.Outage{AtOnce: true, For: time.Minute}, 0},
		{probes.Outage{For: time.Minute}, time.Minute},
	} {
		b, err := crashParams(p.Nodes[1], c.out)
		if err != nil {
			t.Fatal(err)
		}
		var got crashfault.Params
		if err := inject.DecodeStrict(b, &got); err != nil || got.DownFor != c.down || got.Target.Port != 6379 || len(got.Restart.Argv) != 3 || got.Target.Validate() != nil {
			t.Errorf("%s: %+v, %v", b, got, err)
		}
	}
	s, err := HookSpec(p.Hooks[plan.Failover], time.Minute)
	var h hookfault.Params
	if err != nil || json.Unmarshal(s.Params, &h) != nil || h.Inject[1] != "y" || h.Check[0] != "w" || h.Timeout != 7*time.Second || s.Patience != 14*time.Second || s.Kind != hookfault.Kind {
		t.Errorf("%+v, %v, %+v", s, err, h)
	}
}

// TestOnlyNamedServersAreKilled: a lock node alone is not enough.
func TestOnlyNamedServersAreKilled(t *testing.T) {
	p := parse(t, "nodes: [{name: a, roles: [client]}, {name: l, roles: [lock]}, {name: m, roles: [lock], process: etcd}]\n")
	s, err := Plan(p, Options{})
	if err != nil || strings.Join(s.Params.Killable, " ") != "m" || s.Params.Failover != "" {
		t.Errorf("%v, %v", s.Params.Killable, err)
	}
	st := &stage{plan: p}
	for _, node := range []string{"l", "a", "nobody"} {
		if _, err := st.Crash(t.Context(), node, probes.Outage{For: time.Second}); !errors.Is(err, probes.ErrSkip) || !strings.Contains(err.Error(), "does not name") {
			t.Errorf("crash on %s: %v", node, err)
		}
	}
	if _, err := st.Hook(t.Context(), "failover", time.Second); !errors.Is(err, probes.ErrSkip) {
		t.Errorf("a hook that the plan does not have: %v", err)
	}
}
