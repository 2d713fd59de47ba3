package etcd_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/etcd"
)

// TestExpiry: when the service falls silent just after the grant, the clients that
// watch their own clock stop before any of those that wait for etcd's session to give
// up, which allows the first answer the dial timeout; and one that ignores its session
// says nothing, and does not claim that it could.
func TestExpiry(t *testing.T) {
	const each = 3
	target, server := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	lost := make(chan string, 3*each)
	holder := func(options, key string) locks.Client {
		one := target
		one.Options = json.RawMessage(options)
		c, err := etcd.Driver{}.Open(ctx, one)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		// The session's renewals run in a loop that an earlier lease has started: the
		// second lease's first one is not sent at once.
		for _, k := range []string{key + "-first", key} {
			if _, err := c.Acquire(ctx, k, 2*time.Second, 0); err != nil {
				t.Fatal(err)
			}
		}
		go func() {
			for n := range c.(locks.Notifier).Notices() {
				if n.Kind == locks.Lost && n.Key == key {
					lost <- options
				}
			}
		}()
		return c
	}
	const clock, session, ignore = `{"local_expiry":true}`, `{}`, `{"ignore_loss":true}`
	for i := range each {
		for _, options := range []string{ignore, clock, session} {
			c := holder(options, fmt.Sprintf("%s-%d", options, i))
			if can := slices.Contains(c.Capabilities(), locks.ObserveLoss); can == (options == ignore) {
				t.Errorf("%s: says that it can notice a loss: %v", options, can)
			}
		}
	}
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	for i := range 2 * each {
		want := clock
		if i >= each {
			want = session
		}
		select {
		case got := <-lost:
			if got != want {
				t.Fatalf("loss %d was noticed by a client with %s, want %s", i+1, got, want)
			}
		case <-ctx.Done():
			t.Fatalf("only %d of %d clients noticed", i, 2*each)
		}
	}
}
