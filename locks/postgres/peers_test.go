package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
)

// TestPeers: the one connection that has the advisory lock, and none while nobody has it.
func TestPeers(t *testing.T) {
	t.Parallel()
	s := servers.NewPostgresTemplate(t).Start(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	holder, observer := open(t, target(s, advisory)), open(t, target(s, advisory))
	witness, ok := observer.(locks.Witness)
	if !ok {
		t.Fatal("the server knows, and the driver does not tell")
	}
	if peers, recent, err := witness.Peers(ctx, "x"); err != nil || recent || len(peers) != 0 {
		t.Errorf("nobody has it: %v, recent %v, %v", peers, recent, err)
	}
	g, err := holder.Acquire(ctx, "x", time.Second, 0)
	if err != nil {
		t.Fatal(err)
	}
	peers, recent, err := witness.Peers(ctx, "x")
	if err != nil || recent || len(peers) != 1 {
		t.Fatalf("%v, recent %v, %v", peers, recent, err)
	}
	if err := holder.Release(ctx, g); err != nil {
		t.Fatal(err)
	}
	if peers, _, err := witness.Peers(ctx, "x"); err != nil || len(peers) != 0 {
		t.Errorf("it was given back: %v, %v", peers, err)
	}
	if _, ok := open(t, target(s, leaseTable)).(locks.Witness); ok {
		t.Error("a row belongs to no connection")
	}
}
