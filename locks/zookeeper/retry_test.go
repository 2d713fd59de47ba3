package zookeeper_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/locks/zookeeper"
)

// What a relay does about the next create of a lock's node.
const (
	forward  = iota // nothing
	hangUp          // it is carried out, and instead of its reply the connection ends
	fallMute        // it is carried out, and then nothing passes in either direction
)

// relay lies between a client and its server.
type relay struct {
	server string
	next   atomic.Int32
	hits   atomic.Int32
}

func startRelay(t *testing.T, server string) (*relay, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	r := &relay{server: server}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go r.carry(c)
		}
	}()
	return r, l.Addr().String()
}

func (r *relay) carry(client net.Conn) {
	server, err := net.Dial("tcp", r.server)
	if err != nil {
		_ = client.Close()
		return
	}
	var (
		mode  atomic.Int32
		ended sync.Once
	)
	end := func() { ended.Do(func() { _, _ = client.Close(), server.Close() }) }
	go func() {
		defer end()
		for buf := make([]byte, 1<<16); ; {
			n, err := client.Read(buf)
			if err != nil {
				return
			}
			muted := mode.Load() == fallMute
			if bytes.Contains(buf[:n], []byte("-lock-")) {
				if m := r.next.Swap(forward); m != forward {
					mode.Store(m)
					r.hits.Add(1)
				}
			}
			if !muted {
				_, _ = server.Write(buf[:n])
			}
		}
	}()
	defer end()
	for buf := make([]byte, 1<<16); ; {
		n, err := server.Read(buf)
		switch {
		case err != nil, mode.Load() == hangUp:
			return
		case mode.Load() == forward:
			_, _ = client.Write(buf[:n])
		}
	}
}

// TestLostCreateReply: the node was made and its maker did not hear of it. On its next
// connection it finds it by the id in its name, and makes no second one, behind which it
// would wait for itself.
func TestLostCreateReply(t *testing.T) {
	t.Parallel()
	s := servers.StartZooKeeper(t, servers.ZooKeeper{})
	r, endpoint := startRelay(t, s.Endpoint)
	c := mustOpen(t, locks.Target{Endpoints: []string{endpoint}})
	for range 3 {
		r.next.Store(hangUp)
		g, err := acquire(t, c, "k", time.Minute, 0)
		if err != nil {
			t.Fatal(err)
		}
		operator := connect(t, s.Endpoint)
		if names, _, err := operator.Children("/k"); err != nil || len(names) != 1 {
			t.Errorf("nodes: %q, %v, want one", names, err)
		}
		if err := c.Release(t.Context(), g); err != nil {
			t.Error(err)
		}
	}
	if n := r.hits.Load(); n != 3 {
		t.Errorf("%d replies were lost, want 3", n)
	}
}

// TestOrphanIsRemoved: an attempt that could not be cleared away is, by the next one, long
// before its session expires.
func TestOrphanIsRemoved(t *testing.T) {
	t.Parallel()
	s := servers.StartZooKeeper(t, servers.ZooKeeper{})
	r, endpoint := startRelay(t, s.Endpoint)
	c := mustOpen(t, locks.Target{Endpoints: []string{endpoint}})
	g, err := acquire(t, c, "k", time.Minute, 0) // makes the directory
	if err == nil {
		err = c.Release(t.Context(), g)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.next.Store(fallMute)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := c.Acquire(ctx, "k", time.Minute, 0); err == nil || errors.Is(err, locks.ErrHeld) {
		t.Fatalf("an attempt that was never answered: %v", err)
	}
	operator := connect(t, s.Endpoint)
	if names, _, err := operator.Children("/k"); err != nil || len(names) != 1 {
		t.Fatalf("nodes after the attempt: %q, %v, want its own", names, err)
	}
	if _, err := acquire(t, c, "k", time.Minute, 0); err != nil {
		t.Errorf("the retry: %v", err)
	}
	if names, _, err := operator.Children("/k"); err != nil || len(names) != 1 {
		t.Errorf("nodes after the retry: %q, %v, want one", names, err)
	}
}

// TestLocalExpiryComesFirst: when the service falls silent, clients that watch their own
// clock stop before any of those that wait for a timeout after the connection was lost.
func TestLocalExpiryComesFirst(t *testing.T) {
	t.Parallel()
	const each = 2
	s := servers.StartZooKeeper(t, servers.ZooKeeper{})
	lost := make(chan string, 2*each)
	const clock, session = `{"local_expiry": true}`, `{}`
	for i := range each {
		for _, options := range []string{session, clock} {
			c, err := zookeeper.Driver{}.Open(t.Context(), locks.Target{Endpoints: []string{s.Endpoint}, Options: json.RawMessage(options)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			if _, err := acquire(t, c, fmt.Sprint("k", i, len(options)), 6*time.Second, 0); err != nil {
				t.Fatal(err)
			}
			go func() {
				for n := range c.(locks.Notifier).Notices() {
					if n.Kind == locks.Lost {
						lost <- options
					}
				}
			}()
		}
	}
	if err := s.Stop(); err != nil {
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
		case <-time.After(limit):
			t.Fatalf("only %d of %d clients noticed", i, 2*each)
		}
	}
}
