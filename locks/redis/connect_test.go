package redis_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/locks/redis"
)

func TestInspectReadsWhatDecides(t *testing.T) {
	plain := servers.StartRedis(t)
	safe := servers.StartRedis(t, "--requirepass", "secret", "--appendonly", "yes", "--appendfsync", "always", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
	for _, c := range []struct {
		target                  locks.Target
		durable, evicts, asksPW bool
	}{
		{locks.Target{Endpoints: []string{plain.Endpoint}}, false, false, false},
		{locks.Target{Endpoints: []string{safe.Endpoint}, Password: "secret"}, true, true, true},
	} {
		d, err := redis.Driver{}.Inspect(t.Context(), c.target)
		if err != nil {
			t.Fatal(err)
		}
		if d.Durable == nil || *d.Durable != c.durable || d.Evicts == nil || *d.Evicts != c.evicts || d.Auth == nil || *d.Auth != c.asksPW {
			t.Errorf("%+v", d)
		}
		if m := d.Members[0]; d.Consensus != "" || !*d.WallClock || m.Role != "master" || len(m.ID) != 40 || m.Clock == nil || len(d.Unknown) > 0 {
			t.Errorf("%+v", d)
		}
	}
}

// TestWhatMayNotBeReadIsUnknown: no permission is not the same as no.
func TestWhatMayNotBeReadIsUnknown(t *testing.T) {
	s := servers.StartRedis(t, "--rename-command", "CONFIG", "")
	d, err := redis.Driver{}.Inspect(t.Context(), locks.Target{Endpoints: []string{s.Endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	if d.Durable != nil || d.Evicts != nil || !strings.Contains(strings.Join(d.Unknown, "\n"), "CONFIG GET appendonly") {
		t.Errorf("%+v", d)
	}
}

func TestTargetIsChecked(t *testing.T) {
	s := servers.StartRedis(t, "--requirepass", "secret")
	for name, target := range map[string]locks.Target{
		"no endpoint":    {},
		"two endpoints":  {Endpoints: []string{"a:1", "b:1"}},
		"no port":        {Endpoints: []string{"localhost"}},
		"counter number": {Endpoints: []string{s.Endpoint}, Options: json.RawMessage(`{"fencing_counter": 5}`)},
		"no password":    {Endpoints: []string{s.Endpoint}},
		"wrong password": {Endpoints: []string{s.Endpoint}, Password: "guess"},
	} {
		if c, err := (redis.Driver{}).Open(t.Context(), target); !errors.Is(err, locks.ErrRefused) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}

// TestCounterThatIsNoNumber: the attempt fails and leaves no lock behind.
func TestCounterThatIsNoNumber(t *testing.T) {
	s := servers.StartRedis(t)
	counter, err := redis.Driver{}.Open(t.Context(), locks.Target{Endpoints: []string{s.Endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	defer counter.Close()
	if _, err := counter.Acquire(t.Context(), "k:fencing", 1e12, 0); err != nil { // a random value, no number
		t.Fatal(err)
	}
	c, err := redis.Driver{}.Open(t.Context(), locks.Target{Endpoints: []string{s.Endpoint}, Options: json.RawMessage(`{"fencing_counter": true}`)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Acquire(t.Context(), "k", 1e12, 0); !errors.Is(err, locks.ErrRefused) {
		t.Errorf("acquire: %v", err)
	}
	if h, err := c.(locks.Observer).Observe(t.Context(), "k"); err != nil || h.Held {
		t.Errorf("after a failed acquire: %+v, %v", h, err)
	}
}
