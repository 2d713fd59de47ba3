package etcd_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/etcd"
)

// TestLocalExpiry: when the service falls silent just after the grant, the clients
// that watch their own clock stop before any of those that wait for etcd's session
// to give up, which allows the first answer the dial timeout.
func TestLocalExpiry(t *testing.T) {
	const pairs = 3
	target, server := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	lost := make(chan bool, 2*pairs) // whether it was one with a clock of its own
	for i := range 2 * pairs {
		own := i < pairs
		one := target
		if own {
			one.Options = json.RawMessage(`{"local_expiry": true}`)
		}
		c, err := etcd.Driver{}.Open(ctx, one)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		// The session's renewals run in a loop that an earlier lease has started: the
		// second lease's first one is not sent at once.
		for _, key := range []string{"first", "second"} {
			if _, err := c.Acquire(ctx, key+string(rune('a'+i)), 2*time.Second, 0); err != nil {
				t.Fatal(err)
			}
		}
		go func() {
			for n := range c.(locks.Notifier).Notices() {
				if n.Kind == locks.Lost && n.Key == "second"+string(rune('a'+i)) {
					lost <- own
				}
			}
		}()
	}
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	for i := range 2 * pairs {
		select {
		case own := <-lost:
			if own != (i < pairs) {
				t.Fatalf("loss %d was noticed by a client with a clock of its own: %v", i+1, own)
			}
		case <-ctx.Done():
			t.Fatalf("only %d of %d clients noticed", i, 2*pairs)
		}
	}
}
