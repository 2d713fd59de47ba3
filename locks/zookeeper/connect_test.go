package zookeeper_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/lockaudit/lockaudit/conformance"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/locks/zookeeper"
)

func open(t *testing.T, target locks.Target) (locks.Client, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c, err := zookeeper.Driver{}.Open(ctx, target)
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

func mustOpen(t *testing.T, target locks.Target) locks.Client {
	t.Helper()
	c, err := open(t, target)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func acquire(t *testing.T, c locks.Client, key string, ttl, wait time.Duration) (locks.Grant, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return c.Acquire(ctx, key, ttl, wait)
}

func TestTargetIsChecked(t *testing.T) {
	for name, target := range map[string]locks.Target{
		"no endpoint": {}, "no port": {Endpoints: []string{"localhost"}}, "a scheme": {Endpoints: []string{"zk://a:1"}},
		"no such file":   {Endpoints: []string{"a:1"}, TLS: &locks.TLS{CAFile: "/nonexistent"}},
		"no port at all": {Endpoints: []string{"a:1"}, Options: json.RawMessage(`{"admin_port": 70000}`)},
	} {
		if c, err := (zookeeper.Driver{}).Open(t.Context(), target); !errors.Is(err, locks.ErrRefused) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}

// TestTLS: the secure port lets in who shows a certificate and knows the authority; the
// inspection says that it asks.
func TestTLS(t *testing.T) {
	t.Parallel()
	certs := servers.NewCerts(t)
	s := servers.StartZooKeeper(t, servers.ZooKeeper{TLS: &certs})
	whole := &locks.TLS{CAFile: certs.CA, CertFile: certs.Cert, KeyFile: certs.Key}
	target := locks.Target{Endpoints: []string{s.Endpoint}, Key: "k", TLS: whole}
	c := mustOpen(t, target)
	g, err := acquire(t, c, "k", 10*time.Second, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Release(t.Context(), g); err != nil {
		t.Error(err)
	}
	if d := inspect(t, target); d.TLS == nil || !*d.TLS || d.Auth == nil || !*d.Auth || setting(d, "client certificate required") != "true" {
		t.Errorf("%+v", d)
	}
	stranger := servers.NewCerts(t)
	for name, wrong := range map[string]*locks.TLS{
		"plain text": nil, "no certificate": {CAFile: certs.CA},
		"another authority": {CAFile: stranger.CA, CertFile: certs.Cert, KeyFile: certs.Key},
		"a stranger":        {CAFile: certs.CA, CertFile: stranger.Cert, KeyFile: stranger.Key},
	} {
		target.TLS = wrong
		if _, err := open(t, target); err == nil {
			t.Errorf("%s was let in", name)
		}
	}
}

// TestDigest: who has made the lock's directory can lock there, somebody with another
// password cannot, and says so at once; the inspection says that it asks.
func TestDigest(t *testing.T) {
	t.Parallel()
	s := servers.StartZooKeeper(t, servers.ZooKeeper{})
	target := locks.Target{Endpoints: []string{s.Endpoint}, Key: "/app/lock", Username: "app", Password: "secret"}
	c := mustOpen(t, target)
	g, err := acquire(t, c, target.Key, 30*time.Second, 0)
	if err != nil {
		t.Fatal(err)
	}
	if d := inspect(t, target); d.Auth == nil || !*d.Auth {
		t.Errorf("%+v", d)
	}
	for name, password := range map[string]string{"wrong password": "guess", "nobody": ""} {
		wrong := target
		if wrong.Password = password; password == "" {
			wrong.Username = ""
		}
		var denied *locks.Denied
		if _, err := open(t, wrong); !errors.Is(err, locks.ErrRefused) || !errors.As(err, &denied) {
			t.Errorf("%s: %v", name, err)
		}
		wrong.Key = "" // it is not looked at, so that the attempt itself is refused
		stranger := mustOpen(t, wrong)
		if _, err := acquire(t, stranger, target.Key, 30*time.Second, 0); !errors.Is(err, locks.ErrRefused) {
			t.Errorf("%s: acquire: %v", name, err)
		}
		if err := stranger.Release(t.Context(), g); !errors.Is(err, locks.ErrLost) {
			t.Errorf("%s: release: %v", name, err)
		}
	}
	if err := c.Release(t.Context(), g); err != nil {
		t.Error(err)
	}
}

// TestGrantedIsNotAsked: the servers bound the session timeout, and the grant says to what.
func TestGrantedIsNotAsked(t *testing.T) {
	t.Parallel()
	s := servers.StartZooKeeper(t, servers.ZooKeeper{})
	c := mustOpen(t, locks.Target{Endpoints: []string{s.Endpoint}})
	for asked, want := range map[time.Duration]time.Duration{
		time.Millisecond: 2 * servers.ZooKeeperTick, 3 * time.Second: 3 * time.Second, time.Hour: time.Minute,
	} {
		if g, err := acquire(t, c, "k"+asked.String(), asked, 0); err != nil || g.TTL != want {
			t.Errorf("asked for %s: %+v, %v, want %s", asked, g, err, want)
		}
	}
}

// TestOneEndpointOfTwoIsEnough, also where the other accepts and says nothing.
func TestOneEndpointOfTwoIsEnough(t *testing.T) {
	t.Parallel()
	s, silent := servers.StartZooKeeper(t, servers.ZooKeeper{}), servers.StartZooKeeper(t, servers.ZooKeeper{})
	if err := silent.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{conformance.Address(t), silent.Endpoint} {
		for range 3 { // they are asked in any order
			c := mustOpen(t, locks.Target{Endpoints: []string{other, s.Endpoint}})
			g, err := acquire(t, c, "k", 30*time.Second, 0)
			if err != nil {
				t.Fatalf("beside %s: %v", other, err)
			}
			if err := c.Release(t.Context(), g); err != nil {
				t.Errorf("beside %s: %v", other, err)
			}
		}
	}
}

// TestReleaseProvesTheHold: when somebody has deleted the node and the client has not
// noticed, its release must say lost.
func TestReleaseProvesTheHold(t *testing.T) {
	t.Parallel()
	s := servers.StartZooKeeper(t, servers.ZooKeeper{})
	c := mustOpen(t, locks.Target{Endpoints: []string{s.Endpoint}})
	g, err := acquire(t, c, "k", time.Minute, 0) // renewed every 12 s
	if err != nil {
		t.Fatal(err)
	}
	operator := connect(t, s.Endpoint)
	names, _, err := operator.Children("/k")
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	if err := operator.Delete("/k/"+names[0], -1); err != nil {
		t.Fatal(err)
	}
	if err := c.Release(t.Context(), g); !errors.Is(err, locks.ErrLost) {
		t.Errorf("release of a lock whose node is gone: %v, want lost", err)
	}
}

// TestOthersInTheQueue: nodes that other libraries have made count, whatever their names
// begin with, and what is no node of a queue does not.
func TestOthersInTheQueue(t *testing.T) {
	t.Parallel()
	got := zookeeper.Queue([]string{
		"_c_f00-lock-0000000012", "3c9e__lock__0000000009", "lock-0000000011", "leases", "config", "_c_aaa-lock-0000000010",
	})
	want := []string{"3c9e__lock__0000000009", "_c_aaa-lock-0000000010", "lock-0000000011", "_c_f00-lock-0000000012"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	s := servers.StartZooKeeper(t, servers.ZooKeeper{})
	operator := connect(t, s.Endpoint)
	other := zk.NewLock(operator, "/k", zk.WorldACL(zk.PermAll))
	if err := other.Lock(); err != nil {
		t.Fatal(err)
	}
	c := mustOpen(t, locks.Target{Endpoints: []string{s.Endpoint}})
	if _, err := acquire(t, c, "k", time.Minute, 0); !errors.Is(err, locks.ErrHeld) {
		t.Errorf("acquire beside a lock of the library's own: %v", err)
	}
	if h, err := c.(locks.Observer).Observe(t.Context(), "k"); err != nil || !h.Held {
		t.Errorf("observe: %+v, %v", h, err)
	}
	if err := other.Unlock(); err != nil {
		t.Fatal(err)
	}
	if _, err := acquire(t, c, "k", time.Minute, 0); err != nil {
		t.Errorf("acquire after it was unlocked: %v", err)
	}
}

func connect(t *testing.T, endpoint string) *zk.Conn {
	t.Helper()
	c, _, err := zk.Connect([]string{endpoint}, 30*time.Second, zk.WithLogInfo(false))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
