package redis_test

import (
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/locktest"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/locks/redis"
)

const viaSentinel = `{"sentinel": "mymaster", "fencing_counter": true}`

// TestConformanceViaSentinel: what holds for one server holds for the one that a Sentinel
// names. This Sentinel is patient: a master that is stopped is to come back.
func TestConformanceViaSentinel(t *testing.T) {
	t.Parallel()
	locktest.Run(t, locktest.Subject{Driver: redis.Driver{}, Start: func(tb testing.TB) (locks.Target, locktest.Server) {
		master := servers.StartRedis(tb)
		s := servers.StartSentinel(tb, master.Endpoint, 1, "sentinel down-after-milliseconds mymaster 600000")
		return locks.Target{Backend: "redis", Endpoints: []string{s.Endpoint}, Options: json.RawMessage(viaSentinel)}, master
	}})
}

// trio is a master with two replicas, watched by three Sentinels: a quorum is two.
func trio(t *testing.T) (master *servers.Server, target locks.Target) {
	t.Helper()
	master = servers.StartRedis(t, "--min-replicas-to-write", "1")
	host, port, err := net.SplitHostPort(master.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		servers.StartRedis(t, "--replicaof", host+" "+port)
	}
	target = locks.Target{Backend: "redis", Options: json.RawMessage(viaSentinel)}
	for range 3 {
		s := servers.StartSentinel(t, master.Endpoint, 2, "sentinel down-after-milliseconds mymaster 1000", "sentinel failover-timeout mymaster 5000")
		target.Endpoints = append(target.Endpoints, s.Endpoint)
	}
	return master, target
}

func setting(d facts.Deployment, name string) string {
	for _, s := range d.Settings {
		if strings.HasPrefix(s.Name, name) {
			return s.Value
		}
	}
	return "not read"
}

// await inspects until what is found is as it should be.
func await(t *testing.T, target locks.Target, what string, ok func(facts.Deployment) bool) facts.Deployment {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		d, err := redis.Driver{}.Inspect(t.Context(), target)
		if err == nil && ok(d) {
			return d
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %+v, %v", what, d, err)
		}
	}
}

// TestFailover: the client follows the master, and inspection names the new one.
func TestFailover(t *testing.T) {
	t.Parallel()
	master, target := trio(t)
	d := await(t, target, "three servers and three Sentinels", func(d facts.Deployment) bool {
		return len(d.Members) == 3 && d.Replicas == 2 && setting(d, "sentinel num-other-sentinels") == "2" &&
			d.Members[1].Err == "" && d.Members[2].Err == "" && strings.HasPrefix(setting(d, "ckquorum"), "OK 3 usable Sentinels")
	})
	if m := d.Members[0]; m.Endpoint != master.Endpoint || m.Role != "master" || d.Members[1].Role != "replica" || d.Consensus != "" || d.Voters != 0 {
		t.Errorf("%+v", d)
	}
	for name, want := range map[string]string{
		"sentinel quorum": "2", "tilt at Sentinel": "0", "min-replicas-to-write": "1", "Sentinels that answer": "3 of 3",
	} {
		if got := setting(d, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	c, err := redis.Driver{}.Open(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Acquire(t.Context(), "before", time.Minute, 0); err != nil {
		t.Fatal(err)
	}
	master.Kill()
	var g locks.Grant
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if g, err = c.Acquire(t.Context(), "after", time.Minute, 0); err == nil {
			break
		}
		if time.Now().After(deadline) || errors.Is(err, locks.ErrHeld) {
			t.Fatalf("no lock after the failover: %v", err)
		}
	}
	if err := c.Release(t.Context(), g); err != nil {
		t.Errorf("release at the new master: %v", err)
	}
	d = await(t, target, "a new master", func(d facts.Deployment) bool { return d.Members[0].Endpoint != master.Endpoint })
	if d.Members[0].Role != "master" {
		t.Errorf("%+v", d)
	}
}

func TestSentinelsAreChecked(t *testing.T) {
	t.Parallel()
	master := servers.StartRedis(t)
	s := servers.StartSentinel(t, master.Endpoint, 2, "requirepass secret")
	open := func(options string, endpoints ...string) error {
		c, err := redis.Driver{}.Open(t.Context(), locks.Target{Endpoints: endpoints, Options: json.RawMessage(options)})
		if err == nil {
			err = c.Close()
		}
		return err
	}
	if err := open(`{"sentinel": "mymaster", "sentinel_password": "secret"}`, s.Endpoint); err != nil {
		t.Errorf("with the Sentinel's password: %v", err)
	}
	for name, err := range map[string]error{
		"no endpoint":     open(`{"sentinel": "mymaster"}`),
		"no port":         open(`{"sentinel": "mymaster"}`, "localhost"),
		"another master":  open(`{"sentinel": "other", "sentinel_password": "secret"}`, s.Endpoint),
		"no password":     open(`{"sentinel": "mymaster"}`, s.Endpoint),
		"not a Sentinel":  open(`{"sentinel": "mymaster"}`, master.Endpoint),
		"nobody listens":  open(`{"sentinel": "mymaster"}`, "127.0.0.1:1"),
		"a Sentinel only": open(``, s.Endpoint, s.Endpoint),
	} {
		if err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	// A master that is gone is a service in the middle of a failover.
	master.Kill()
	c, err := redis.Driver{}.Open(t.Context(), locks.Target{Endpoints: []string{s.Endpoint}, Options: json.RawMessage(`{"sentinel": "mymaster", "sentinel_password": "secret"}`)})
	if err != nil {
		t.Fatalf("open without a master: %v", err)
	}
	defer c.Close()
	if _, err := c.Acquire(t.Context(), "k", time.Minute, 0); err == nil || errors.Is(err, locks.ErrHeld) || errors.Is(err, locks.ErrRefused) {
		t.Errorf("acquire without a master: %v", err)
	}
}

// TestNoQuorumIsRead: one Sentinel of a quorum of two says so.
func TestNoQuorumIsRead(t *testing.T) {
	t.Parallel()
	master := servers.StartRedis(t)
	s := servers.StartSentinel(t, master.Endpoint, 2, "requirepass secret")
	// One Sentinel of a quorum of two: its answer is in the report.
	d, err := redis.Driver{}.Inspect(t.Context(), locks.Target{
		Endpoints: []string{s.Endpoint, "127.0.0.1:1"}, Options: json.RawMessage(`{"sentinel": "mymaster", "sentinel_password": "secret"}`),
	})
	if err != nil || !strings.Contains(setting(d, "ckquorum"), "NOQUORUM") || setting(d, "Sentinels that answer") != "1 of 2" || len(d.Unknown) == 0 {
		t.Errorf("%+v, %v", d, err)
	}
}

// TestQuorumsThatAreNone: one Sentinel under two names is one, and says so.
func TestQuorumsThatAreNone(t *testing.T) {
	t.Parallel()
	master := servers.StartRedis(t)
	s := servers.StartSentinel(t, master.Endpoint, 1)
	_, port, err := net.SplitHostPort(s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	other := servers.StartSentinel(t, master.Endpoint, 1)
	d, err := redis.Driver{}.Inspect(t.Context(), locks.Target{
		Endpoints: []string{s.Endpoint, "localhost:" + port, other.Endpoint}, Options: json.RawMessage(`{"sentinel": "mymaster"}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := setting(d, "one Sentinel with several endpoints"); got != s.Endpoint+", localhost:"+port {
		t.Errorf("one Sentinel: %q, %+v", got, d.Settings)
	}
	if got := setting(d, "Sentinels on one machine"); !strings.Contains(got, s.Endpoint) || !strings.Contains(got, other.Endpoint) {
		t.Errorf("one machine: %q", got)
	}
}

// TestNewestConfigurationCounts: a Sentinel that has not heard of a failover names the
// old master; the other one was agreed on later.
func TestNewestConfigurationCounts(t *testing.T) {
	t.Parallel()
	old, promoted := servers.StartRedis(t), servers.StartRedis(t)
	late := servers.StartSentinel(t, old.Endpoint, 1)
	aware := servers.StartSentinel(t, promoted.Endpoint, 1, "sentinel config-epoch mymaster 7")
	for _, order := range [][]string{{late.Endpoint, aware.Endpoint}, {aware.Endpoint, late.Endpoint}} {
		d, err := redis.Driver{}.Inspect(t.Context(), locks.Target{Endpoints: order, Options: json.RawMessage(`{"sentinel": "mymaster"}`)})
		if err != nil {
			t.Fatal(err)
		}
		last := d.Members[len(d.Members)-1]
		if d.Members[0].Endpoint != promoted.Endpoint || last.Endpoint != late.Endpoint || last.Err != "its master is "+old.Endpoint {
			t.Errorf("asked %v: %+v", order, d.Members)
		}
	}
}
