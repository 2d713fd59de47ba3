package probes

import (
	"testing"

	"github.com/lockaudit/lockaudit/facts"
)

// TestLeaderByAnyName: each service has its own word for the server that grants, and two
// that claim it are none.
func TestLeaderByAnyName(t *testing.T) {
	members := []member{{node: "n1", addrs: []string{"10.0.0.1"}}, {node: "n2", addrs: []string{"10.0.0.2"}}, {node: "n3", addrs: []string{"10.0.0.3"}}}
	at := func(roles ...string) (d facts.Deployment) {
		for i, role := range roles {
			d.Members = append(d.Members, facts.Member{Endpoint: []string{"http://10.0.0.1:2379", "10.0.0.2:6379", "n3:5432", "10.0.0.9:1"}[i], Role: role})
		}
		return d
	}
	for _, tt := range []struct {
		name string
		d    facts.Deployment
		want int
	}{
		{"etcd", at("leader", "follower", "follower"), 0},
		{"redis", at("replica", "master", "replica"), 1},
		{"postgres, named by its node", at("standby", "standby", "primary"), 2},
		{"nobody", at("follower", "follower"), -1},
		{"on no node of the plan", at("replica", "replica", "replica", "master"), -1},
		{"two masters", at("master", "master", "replica"), -1},
	} {
		if got := leader(members, tt.d); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}
