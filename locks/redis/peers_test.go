package redis

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
)

// TestPeers: who has just spoken is among them, and the client that asks is not.
func TestPeers(t *testing.T) {
	s := servers.StartRedis(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	target := locks.Target{Backend: "redis", Endpoints: []string{s.Endpoint}, Key: "x", TTL: time.Second, Options: json.RawMessage(`{}`)}
	open := func() *client {
		c, err := (Driver{}).Open(ctx, target)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c.(*client)
	}
	holder, observer := open(), open()
	if _, err := holder.Acquire(ctx, "x", time.Minute, 0); err != nil {
		t.Fatal(err)
	}
	peers, recent, err := observer.Peers(ctx, "x")
	if err != nil || !recent || len(peers) != 1 {
		t.Fatalf("%v, recent %v, %v", peers, recent, err)
	}
	again, _, err := holder.Peers(ctx, "x")
	if err != nil || slices.Contains(again, peers[0]) {
		t.Errorf("the holder sees its own connection %v among %v: %v", peers, again, err)
	}
}

func TestActivePeers(t *testing.T) {
	const list = "id=3 addr=10.0.0.1:1 name= age=9 idle=0 flags=N cmd=set\n" +
		"id=4 addr=10.0.0.2:2 name= age=9 idle=2 flags=N cmd=get\n" + // silent
		"id=5 addr=10.0.0.3:3 name= age=9 idle=0 flags=S cmd=replconf\n" + // a replica
		"id=6 addr=[fd00::1]:4 name= age=9 idle=1 flags=P cmd=get\n" +
		"id=7 addr=10.0.0.4:5 name= age=9 idle=0 flags=N cmd=client|list\n\nnonsense\n"
	if got := activePeers(list, 7); !slices.Equal(got, []string{"10.0.0.1:1", "[fd00::1]:4"}) {
		t.Errorf("%v", got)
	}
}
