package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/plan"
)

// etcd of n servers, with an agent on each, and two client nodes.
func etcd(t *testing.T, n int, more string) *plan.Plan {
	t.Helper()
	var endpoints, nodes []string
	for i := range n {
		endpoints = append(endpoints, fmt.Sprintf("10.0.0.%d:2379", i+1))
		nodes = append(nodes, fmt.Sprintf("{name: etcd-%d, roles: [lock], process: etcd}", i+1))
	}
	p, err := plan.Parse(fmt.Appendf(nil, `name: x
lock: {backend: etcd, endpoints: [%s], key: k, ttl: 2s}
resource: {kind: http, url: "http://10.0.9.1:80/{row}"}
nodes: [%s, {name: a, roles: [client]}, {name: b, roles: [client]}]
%s
`, strings.Join(endpoints, ", "), strings.Join(nodes, ", "), more))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPlanRefusesByName(t *testing.T) {
	for _, x := range []struct {
		servers    int
		probe      string
		more, want string
		override   plan.Override
	}{
		{3, "partition-lock-servers", "", "", ""},
		{5, "partition-lock-servers", "", "", ""},
		{3, "isolate-lock-leader", "", "", ""},
		{2, "double-execution", "", "no majority of the lock nodes", plan.AllowQuorumLoss},
		{2, "double-execution", "safety: {allow: [quorum-loss]}", "", ""},
		{3, "partition-lock-servers", "safety: {max_nodes: 2}", "faults on 5 nodes at once", ""},
		{3, "partition-lock-servers", "safety: {max_nodes: 50%}", "which is 2 of 5", ""},
		{3, "partition-lock-servers", "safety: {max_faults: 3}", "faults at once and safety.max_faults is 3", ""},
		{3, "partition-holder-past-ttl", "safety: {max_nodes: 1, max_faults: 1}", "", ""},
		{3, "pause-holder-past-ttl", "safety: {max_fault: 3s}", "safety.max_fault is 3s", plan.AllowLongFaults},
		{3, "pause-holder-past-ttl", "safety: {max_fault: 3s, allow: [long-faults]}", "", ""},
	} {
		_, err := Plan(etcd(t, x.servers, x.more), Options{Probes: []string{x.probe}})
		var u *Unsafe
		switch {
		case x.want == "" && err != nil:
			t.Errorf("%d servers, %s, %s: %v", x.servers, x.probe, x.more, err)
		case x.want != "" && (!errors.As(err, &u) || !errors.Is(err, ErrUnsafe) || !strings.Contains(err.Error(), x.want) || u.Override != x.override):
			t.Errorf("%d servers, %s, %s: %v, want %q lifted by %q", x.servers, x.probe, x.more, err, x.want, x.override)
		}
	}
}

// TestNoSeedTakesTheMajority: the quorum guard has nothing to say about what is drawn.
func TestNoSeedTakesTheMajority(t *testing.T) {
	for servers := 3; servers <= 7; servers++ {
		p := etcd(t, servers, "seed: 1000")
		for seed := range uint64(100) {
			s, err := Plan(p, Options{Probes: []string{"partition-lock-servers"}, Seed: seed})
			if err != nil {
				t.Fatalf("%d servers, seed %d: %v", servers, seed, err)
			}
			if want := map[bool]uint64{true: 1000, false: seed}[seed == 0]; s.Params.Seed != want { // the flag, or else the plan's
				t.Fatalf("seed %d became %d, want %d", seed, s.Params.Seed, want)
			}
			for _, d := range s.Probes[0].Demands(s.Params) {
				if d.Kind != "partition" || d.For > s.Probes[0].MaxFault(s.Params) {
					t.Fatalf("seed %d: %s", seed, d)
				}
			}
		}
	}
}

// TestEveryBoundedProbeSaysWhat: what is capped by its length is also shown one by
// one, and no demand is longer than the cap that was checked.
func TestEveryBoundedProbeSaysWhat(t *testing.T) {
	s, err := Plan(etcd(t, 5, "safety: {max_fault: 1h, allow: [server-clock]}"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, probe := range s.Probes {
		if probe.MaxFault == nil {
			continue
		}
		if probe.Demands == nil || len(probe.Demands(s.Params)) == 0 {
			t.Errorf("%s has faults and does not say which", probe.Name)
			continue
		}
		for _, d := range probe.Demands(s.Params) {
			if d.For <= 0 || d.For > probe.MaxFault(s.Params) || d.Node == "" || d.Kind == "" || d.String() == "" {
				t.Errorf("%s: %+v", probe.Name, d)
			}
		}
	}
}

func cutSpec(t *testing.T, d time.Duration, peers ...string) inject.Spec {
	t.Helper()
	params, err := json.Marshal(map[string]any{"peers": peers})
	if err != nil {
		t.Fatal(err)
	}
	return inject.Spec{Kind: "partition", For: d, Params: params}
}

// met is a blast radius whose nodes are all reached: etcd-N is 10.0.0.N, a and b
// are 10.0.1.1 and .2.
func met(t *testing.T, servers int, more string) *blast {
	t.Helper()
	p := etcd(t, servers, more)
	s, err := Plan(p, Options{Passive: true})
	if err != nil {
		t.Fatal(err)
	}
	b := newBlast(p, s.Params)
	for i := range servers {
		b.met(fmt.Sprintf("etcd-%d", i+1), []string{fmt.Sprintf("10.0.0.%d", i+1)})
	}
	b.met("a", []string{"10.0.1.1"})
	b.met("b", []string{"10.0.1.2"})
	return b
}

// TestQuorumGuard: what is in effect already counts, and so does a server that was
// down before.
func TestQuorumGuard(t *testing.T) {
	crash := inject.Spec{Kind: "crash", For: time.Second}
	reserve := func(b *blast, node string, s inject.Spec, down bool) error {
		_, err := b.reserve(node, s, down)
		return err
	}
	lost := func(err error) bool {
		var u *Unsafe
		return errors.As(err, &u) && u.Override == plan.AllowQuorumLoss
	}
	b := met(t, 3, "")
	if err := reserve(b, "etcd-1", crash, true); err != nil {
		t.Errorf("one of three: %v", err)
	}
	if err := reserve(b, "etcd-2", cutSpec(t, time.Second, "10.0.0.3"), false); !lost(err) {
		t.Errorf("and the link between the other two: %v", err)
	}
	if err := reserve(b, "etcd-2", cutSpec(t, time.Second, "10.0.0.1", "10.0.1.1"), false); err != nil {
		t.Errorf("a link to the one that is down: %v", err)
	}
	b = met(t, 3, "")
	b.inspected(facts.Deployment{Members: []facts.Member{{Endpoint: "10.0.0.2:2379"}, {Endpoint: "http://10.0.0.3:2379", Err: "connection refused"}}})
	if err := reserve(b, "etcd-1", crash, true); !lost(err) {
		t.Errorf("one of three with another down: %v", err)
	}
	if err := reserve(b, "a", cutSpec(t, time.Second, "10.0.0.1", "10.0.0.2", "10.0.0.3"), false); err != nil {
		t.Errorf("a client's node: %v", err)
	}
	if err := reserve(met(t, 3, "safety: {allow: [quorum-loss]}"), "etcd-1", cutSpec(t, time.Second, "10.0.0.2", "10.0.0.3"), false); err != nil {
		t.Errorf("allowed by name: %v", err)
	}
	if err := reserve(met(t, 1, ""), "etcd-1", crash, true); err != nil {
		t.Errorf("the only server: %v", err)
	}
	if err := reserve(met(t, 2, ""), "etcd-1", crash, true); !lost(err) {
		t.Errorf("one of two: %v", err)
	}
}

func TestBlastRadius(t *testing.T) {
	b := met(t, 3, "safety: {max_nodes: 2, max_faults: 3, max_fault: 10s}")
	var u *Unsafe
	refused := func(what, want string, o plan.Override, node string, s inject.Spec) {
		t.Helper()
		if _, err := b.reserve(node, s, false); !errors.As(err, &u) || !strings.Contains(err.Error(), want) || u.Override != o {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("too long", "it may last 11s", plan.AllowLongFaults, "a", cutSpec(t, 11*time.Second, "10.0.0.1"))
	refused("somebody else", "cut 10.7.7.7 off", plan.AllowOutsideNodes, "a", cutSpec(t, time.Second, "10.0.0.1", "10.7.7.7"))
	refused("everybody", "cut 0.0.0.0/0 off", plan.AllowOutsideNodes, "a", cutSpec(t, time.Second, "0.0.0.0/0"))
	var keys []string
	for _, node := range []string{"a", "b"} {
		key, err := b.reserve(node, cutSpec(t, time.Second, "10.0.0.1", "10.0.9.1"), false)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	refused("a third node", "on 3 nodes", "", "etcd-1", cutSpec(t, time.Second, "10.0.1.1"))
	if _, err := b.reserve("a", cutSpec(t, time.Second, "10.0.0.2"), false); err != nil {
		t.Fatal(err)
	}
	refused("a fourth fault", "3 faults are in effect", "", "a", cutSpec(t, time.Second, "10.0.0.2"))
	b.ended(keys[0])
	if _, err := b.reserve("b", cutSpec(t, time.Second, "10.0.0.2"), false); err != nil {
		t.Errorf("after one has ended: %v", err)
	}
}

func TestStopConditions(t *testing.T) {
	status, wait := http.StatusOK, make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hangs" {
			<-wait
		}
		w.WriteHeader(status)
	}))
	defer server.Close() // waits for the handler that hangs
	defer close(wait)
	conditions := func(list ...plan.StopIf) *stopper { return newStopper(list) }
	web := plan.StopIf{HTTP: server.URL + "/health?key=geheim", Timeout: 10 * time.Second}
	yes, no := plan.StopIf{Command: []string{"true"}, Timeout: 10 * time.Second}, plan.StopIf{Command: []string{"false"}, Timeout: 10 * time.Second}
	ctx := context.Background()
	if err := conditions(web, yes).check(ctx); err != nil {
		t.Errorf("all is well: %v", err)
	}
	for name, x := range map[string]struct {
		c      plan.StopIf
		status int
		want   string
	}{
		"status 503":      {web, 503, "503 Service Unavailable"},
		"a redirect":      {web, 304, "304"},
		"a failure":       {no, 200, "command false: exit status 1"},
		"no such program": {plan.StopIf{Command: []string{"no-such-program"}, Timeout: time.Second}, 200, "executable file not found"},
		"a hanging one":   {plan.StopIf{Command: []string{"sleep", "1000"}, Timeout: 50 * time.Millisecond}, 200, "no answer within 50ms"},
		"a hanging URL":   {plan.StopIf{HTTP: server.URL + "/hangs", Timeout: 50 * time.Millisecond}, 200, "no answer within 50ms"},
		"nobody there":    {plan.StopIf{HTTP: "http://user:geheim@127.0.0.1:1/x", Timeout: 10 * time.Second}, 200, "connection refused"},
	} {
		status = x.status
		err := conditions(yes, x.c, yes).check(ctx)
		if !errors.Is(err, ErrStopped) || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v, want %q", name, err, x.want)
		}
	}
	// It is looked at again and again, and a cancelled audit is no condition.
	file := filepath.Join(t.TempDir(), "well")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fired, watched := make(chan error, 1), conditions(plan.StopIf{Command: []string{"test", "-e", file}, Timeout: 10 * time.Second})
	go watched.watch(ctx, func(err error) { fired <- err })
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-fired:
		if !errors.Is(err, ErrStopped) {
			t.Error(err)
		}
	case <-time.After(2 * time.Minute):
		t.Error("the condition did not fire")
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := conditions(no).check(cancelled); err != nil {
		t.Errorf("after the end: %v", err)
	}
}

func TestProtectedNamesAreLookedUp(t *testing.T) {
	p := parse(t, "safety: {protect: [10.0.0.9:22, lb:443, 10.9.0.0/16, 10.0.0.7]}\n")
	find := func(_ context.Context, host string) ([]netip.Addr, error) {
		if host == "lb" {
			return []netip.Addr{netip.MustParseAddr("10.1.1.1"), netip.MustParseAddr("fd00::1")}, nil
		}
		return []netip.Addr{netip.MustParseAddr(host)}, nil
	}
	got, err := protected(context.Background(), p, find)
	if want := "[10.0.0.9:22 10.1.1.1:443 [fd00::1]:443 10.9.0.0/16 10.0.0.7]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("%v, %v, want %s", got, err, want)
	}
	if _, err := protected(context.Background(), p, unresolved); err == nil {
		t.Error("a name that is not known protects nothing, and nobody is told")
	}
}
