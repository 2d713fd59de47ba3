package redlock_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/redlock"
)

func TestOptionsAreChecked(t *testing.T) {
	_, target := start(t, 1)
	for _, bad := range []string{
		`{"drift_factor": 1}`, `{"drift_factor": -0.1}`, `{"node_timeout": 50}`, `{"node_timeout": "0s"}`,
		`{"node_timeout": "soon"}`, `{"tries": -1}`, `{"fencing_counter": true}`,
	} {
		target.Options = json.RawMessage(bad)
		if c, err := (redlock.Driver{}).Open(t.Context(), target); !errors.Is(err, locks.ErrRefused) {
			t.Errorf("%s: %v, %v", bad, c, err)
		}
	}
	target.Endpoints = nil
	if c, err := (redlock.Driver{}).Open(t.Context(), target); !errors.Is(err, locks.ErrRefused) {
		t.Errorf("no endpoint: %v, %v", c, err)
	}
}

// TestDriftIsTakenOff: what the client does not rely on is not granted.
func TestDriftIsTakenOff(t *testing.T) {
	_, target := start(t, 1)
	target.Options = json.RawMessage(`{"node_timeout": "20s", "drift_factor": 0.25}`)
	c := open(t, target)
	g, err := c.Acquire(t.Context(), "k", time.Minute, 0)
	if err != nil || g.TTL != 45*time.Second {
		t.Fatalf("%+v, %v", g, err)
	}
	if ttl, err := c.Renew(t.Context(), g); err != nil || ttl != 45*time.Second {
		t.Errorf("renew: %s, %v", ttl, err)
	}
}

// TestTriesEndTheWait long before the wait itself, and the answer is definite.
func TestTriesEndTheWait(t *testing.T) {
	_, target := start(t, 3)
	holder := open(t, target)
	if _, err := holder.Acquire(t.Context(), "k", time.Hour, 0); err != nil {
		t.Fatal(err)
	}
	target.Options = json.RawMessage(`{"node_timeout": "20s", "tries": 3}`)
	c := open(t, target)
	// Without tries this waits for longer than any test may take.
	if _, err := c.Acquire(t.Context(), "k", time.Hour, 10*time.Hour); !errors.Is(err, locks.ErrHeld) {
		t.Errorf("acquire: %v", err)
	}
}
