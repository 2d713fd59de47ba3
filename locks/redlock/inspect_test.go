package redlock_test

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/locks/redlock"
)

func inspect(t *testing.T, target locks.Target) (facts.Deployment, string) {
	t.Helper()
	d, err := redlock.Driver{}.Inspect(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, s := range d.Settings {
		fmt.Fprintf(&b, "%s = %s\n", s.Name, s.Value)
	}
	return d, b.String()
}

func says(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, w := range wanted {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in\n%s", w, text)
		}
	}
}

// TestInspectAsksEach: one server that differs decides for all, and is named.
func TestInspectAsksEach(t *testing.T) {
	durable := []string{"--appendonly", "yes", "--appendfsync", "always"}
	a, b := servers.StartRedis(t, durable...), servers.StartRedis(t, durable...)
	c := servers.StartRedis(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
	target := locks.Target{Endpoints: []string{a.Endpoint, b.Endpoint, c.Endpoint}, TTL: 10 * time.Second}
	d, text := inspect(t, target)
	if d.Quorum != 2 || d.Voters != 3 || len(d.Members) != 3 || *d.Durable || !*d.Evicts || *d.Auth || *d.TLS || d.NodeTimeout != 500*time.Millisecond || d.Consensus != "" {
		t.Errorf("%+v", d)
	}
	for _, m := range d.Members {
		if m.Clock == nil || m.Role != "master" || len(m.ID) != 40 {
			t.Errorf("%+v", m)
		}
	}
	says(t, text, "quorum = 2 of 3", "appendfsync at "+c.Endpoint+" = everysec", "appendfsync at "+a.Endpoint+" = always",
		"maxmemory-policy at "+c.Endpoint+" = allkeys-lru", "servers on one machine = ")
	if strings.Count(text, "save = ") != 1 {
		t.Errorf("what all say alike is there more than once:\n%s", text)
	}
	target.Endpoints = target.Endpoints[:2]
	target.Options = json.RawMessage(`{"node_timeout": "20ms"}`)
	if d, text = inspect(t, target); !*d.Durable || *d.Evicts || d.NodeTimeout != 20*time.Millisecond {
		t.Errorf("%+v", d)
	}
	says(t, text, "an even number of servers")
}

// TestInspectSeesThroughQuorums: two endpoints of one server, a replica that is asked for
// locks, and one that is behind a server.
func TestInspectSeesThroughQuorums(t *testing.T) {
	e, target := start(t, 2)
	host, port, err := net.SplitHostPort(e[0].Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	replica := servers.StartRedis(t, "--replicaof", host, port)
	target.Endpoints = append(target.Endpoints, "localhost:"+port, replica.Endpoint)
	var d facts.Deployment
	var text string
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		d, text = inspect(t, target)
		if d.Replicas > 0 { // of both endpoints of the one server
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no replica is seen: %+v", d)
		}
	}
	if d.Voters != 2 || d.Quorum != 3 {
		t.Errorf("%d voters, quorum %d: %+v", d.Voters, d.Quorum, d)
	}
	says(t, text, "one server with several endpoints = "+e[0].Endpoint+", localhost:"+port, "a replica that is asked for locks = "+replica.Endpoint, "replicas behind the servers = ")
}

// TestInspectOfOneThatIsDown: it is a member with an error, and the quorum is what it was.
func TestInspectOfOneThatIsDown(t *testing.T) {
	e, target := start(t, 3)
	e[1].Kill()
	d, _ := inspect(t, target)
	if d.Quorum != 2 || d.Voters != 3 || len(d.Members) != 3 || d.Members[1].Err == "" || d.Durable == nil {
		t.Errorf("%+v", d)
	}
	e.Kill()
	if d, err := (redlock.Driver{}).Inspect(t.Context(), target); err == nil {
		t.Errorf("nobody answers: %+v", d)
	}
}
