package postgres_test

import (
	"errors"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
)

// long is a lease that no test waits for.
const long = 10 * time.Minute

// TestEndOfConnectionIsNoticedAtOnce: the server's word about the session is the signal;
// nothing waits for the next look.
func TestEndOfConnectionIsNoticedAtOnce(t *testing.T) {
	t.Parallel()
	s := servers.NewPostgresTemplate(t).Start(t)
	lose(t, s, "terminated", func() {
		sql(t, s, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'lockaudit-%'")
	})
	lose(t, s, "server killed", s.Kill)
}

func lose(t *testing.T, s *servers.Postgres, name string, end func()) {
	t.Helper()
	c := open(t, target(s, advisory))
	// The server says that a session ends before it gives back what that held.
	g, err := c.Acquire(t.Context(), "k", long, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	end()
	select {
	case n := <-c.(locks.Notifier).Notices():
		if n.Kind != locks.Lost || n.Key != "k" {
			t.Errorf("%s: %+v", name, n)
		}
	case <-time.After(long / 20):
		t.Errorf("%s: not noticed", name)
	}
	if err := c.Release(t.Context(), g); !errors.Is(err, locks.ErrLost) {
		t.Errorf("%s: release: %v", name, err)
	}
}

// TestSlowServerKeepsTheLock: a server that answers late has not lost the session.
func TestSlowServerKeepsTheLock(t *testing.T) {
	t.Parallel()
	s := servers.NewPostgresTemplate(t).Start(t)
	for _, options := range []string{leaseTable, advisory} {
		c := open(t, target(s, options))
		g, err := c.Acquire(t.Context(), "k", long, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		resumed := make(chan error, 1)
		time.AfterFunc(time.Second, func() { resumed <- s.Resume() })
		if h, err := c.(locks.Observer).Observe(t.Context(), "k"); err != nil || h.ID != g.Token.ID {
			t.Errorf("%s: observe at a slow server: %+v, %v", options, h, err)
		}
		if err := errors.Join(<-resumed, c.Release(t.Context(), g)); err != nil {
			t.Errorf("%s: %v", options, err)
		}
	}
}

// TestRestart: a lease and its numbering outlive the death of the server; a session
// does not.
func TestRestart(t *testing.T) {
	t.Parallel()
	template := servers.NewPostgresTemplate(t)
	s := template.Start(t)
	leased, bound := open(t, target(s, leaseTable)), open(t, target(s, advisory))
	g, err := leased.Acquire(t.Context(), "k", long, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bound.Acquire(t.Context(), "k", long, 0); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	s = template.StartIn(t, s.Dir)
	leased, bound = open(t, target(s, leaseTable)), open(t, target(s, advisory))
	if _, err := leased.Acquire(t.Context(), "k", long, 0); !errors.Is(err, locks.ErrHeld) {
		t.Errorf("the lease after a restart: %v", err)
	}
	next, err := leased.Acquire(t.Context(), "another", long, 0)
	if err != nil {
		t.Fatal(err)
	}
	if cmp, ok := next.Token.Compare(g.Token); !ok || cmp <= 0 {
		t.Errorf("token %s was granted after %s", next.Token, g.Token)
	}
	if _, err := bound.Acquire(t.Context(), "k", long, 0); err != nil {
		t.Errorf("the session's lock after a restart: %v", err)
	}
}
