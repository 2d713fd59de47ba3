package audit

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/probes"
)

// TestPeers: the whole lock service, or nothing and the reason.
func TestPeers(t *testing.T) {
	names := map[string][]string{"etcd-1": {"10.0.0.1", "fd00::1"}, "ledger": {"::ffff:10.0.0.9"}}
	find := func(_ context.Context, host string) ([]netip.Addr, error) {
		var out []netip.Addr
		for _, s := range names[host] {
			out = append(out, netip.MustParseAddr(s))
		}
		if out == nil {
			return nil, errors.New("no such host")
		}
		return out, nil
	}
	for _, c := range []struct {
		name, url string
		endpoints []string
		peers     []string
		ports     []int
		resource  []string
		unknown   string
	}{
		{"addresses", "http://10.0.0.9:8080/{row}", []string{"10.0.0.2:2379", "https://10.0.0.1:2379"}, []string{"10.0.0.1", "10.0.0.2"}, []int{2379}, []string{"10.0.0.9"}, ""},
		{"names with both families", "http://ledger/{row}", []string{"etcd-1:2379"}, []string{"10.0.0.1", "fd00::1"}, []int{2379}, []string{"10.0.0.9"}, ""},
		{"v6 and v4-mapped", "", []string{"[fd00::1]:2379", "[::ffff:10.0.0.3]:2380"}, []string{"10.0.0.3", "fd00::1"}, []int{2379, 2380}, nil, ""},
		{"usual port", "https://10.0.0.9/{row}", []string{"https://10.0.0.1"}, []string{"10.0.0.1"}, []int{443}, []string{"10.0.0.9"}, ""},
		{"one name unknown: all or nothing", "", []string{"10.0.0.1:2379", "gone:2379"}, nil, nil, nil, "resolve gone: no such host"},
		{"resource unknown", "http://gone/{row}", []string{"10.0.0.1:2379"}, nil, []int{2379}, nil, "resolve gone: no such host"},
		{"loopback", "", []string{"127.0.0.1:6379"}, nil, nil, nil, "loopback"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &plan.Plan{Lock: plan.Lock{Endpoints: c.endpoints}}
			if c.url != "" {
				p.Resource = &plan.Resource{URL: c.url}
			}
			got := probes.Params{PeersUnknown: "of an earlier look"}
			peers(t.Context(), p, &got, find)
			if !slices.Equal(got.LockPeers, c.peers) || !slices.Equal(got.LockPorts, c.ports) || !slices.Equal(got.ResourcePeers, c.resource) {
				t.Errorf("%+v", got)
			}
			if !strings.Contains(got.PeersUnknown, c.unknown) || (c.unknown == "") != (got.PeersUnknown == "") {
				t.Errorf("unknown because %q, want %q", got.PeersUnknown, c.unknown)
			}
		})
	}
}

// TestPeersBehindSentinels: the port of the servers themselves is part of a cut.
func TestPeersBehindSentinels(t *testing.T) {
	p := &plan.Plan{Lock: plan.Lock{Endpoints: []string{"10.0.0.1:26379"}, Options: map[string]any{"sentinel": "m"}}}
	got := probes.Params{}
	if peers(t.Context(), p, &got, unresolved); len(got.LockPeers) != 0 || !strings.Contains(got.PeersUnknown, "on which port Redis itself listens") {
		t.Errorf("without a port: %+v", got)
	}
	p.Nodes = []plan.Node{{Name: "r", Roles: []plan.Role{plan.RoleLock}, Process: plan.Process{Port: 6379}}}
	if peers(t.Context(), p, &got, unresolved); !slices.Equal(got.LockPorts, []int{6379, 26379}) || got.PeersUnknown != "" {
		t.Errorf("%+v", got)
	}
}
