package clock_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject/clock"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"

	"github.com/redis/go-redis/v9"
	etcd "go.etcd.io/etcd/client/v3"
)

// TestRedis: a key's lease is an absolute time of the server's wall clock, so a lock
// of 20 minutes vanishes when that clock is stepped by 30.
func TestRedis(t *testing.T) {
	s := servers.StartRedis(t)
	c := redis.NewClient(&redis.Options{Addr: s.Endpoint})
	defer c.Close()
	lock := func() {
		t.Helper()
		if err := c.Set(ctx(t), "lock", "a", 20*time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
	}
	lock()
	f := clock.New()
	plan := skewed(t, f, order(s.PID(), time.Hour, clock.Skew{Offset: half}), "redis")
	if n, err := c.Exists(ctx(t), "lock").Result(); err != nil || n != 0 {
		t.Errorf("the lock of 20 minutes is there after a step of 30: %d, %v", n, err)
	}
	revert(t, f, plan)
	lock()
	if left, err := c.PTTL(ctx(t), "lock").Result(); err != nil || left < 20*time.Minute-slack || left > 20*time.Minute {
		t.Errorf("after the revert a lock of 20 minutes has %v left: %v", left, err)
	}
	if now, err := c.Time(ctx(t)).Result(); err != nil || time.Since(now).Abs() > slack {
		t.Errorf("after the revert the server's time is %v: %v", now, err)
	}
}

// TestEtcd: leases run on monotonic time, and do not move when the wall clock does.
func TestEtcd(t *testing.T) {
	s := servers.StartEtcd(t)
	c, err := etcd.New(etcd.Config{Endpoints: []string{s.Endpoint}, DialTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f := clock.New()
	put(t, c, "long", 3600)
	plan := skewed(t, f, order(s.PID(), time.Hour, clock.Skew{Offset: half}), "etcd")
	if ahead := time.Until(date(t, "http://"+s.Endpoint+"/version")); ahead < half-slack {
		t.Errorf("the server's clock is ahead by %v, want %v", ahead, half)
	}
	// That a short lease ends shows that the server has looked for ended ones since.
	put(t, c, "short", 1)
	await(t, "a lease of 1 s ends", func() bool { return !there(t, c, "short") })
	if !there(t, c, "long") {
		t.Error("a lease of an hour ended when the clock was stepped")
	}
	revert(t, f, plan)
	put(t, c, "short", 1)
	await(t, "a lease of 1 s ends", func() bool { return !there(t, c, "short") })
	if !there(t, c, "long") {
		t.Error("a lease of an hour ended when the clock was stepped back")
	}
}

func put(t *testing.T, c *etcd.Client, key string, ttl int64) {
	t.Helper()
	lease, err := c.Grant(ctx(t), ttl)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(ctx(t), key, "x", etcd.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
}

func there(t *testing.T, c *etcd.Client, key string) bool {
	t.Helper()
	r, err := c.Get(ctx(t), key)
	if err != nil {
		t.Fatal(err)
	}
	return r.Count > 0
}

// date is the time that a Go server's answers carry.
func date(t *testing.T, url string) time.Time {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx(t), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	at, err := http.ParseTime(r.Header.Get("Date"))
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// injectContext bounds one step of an injector process.
func injectContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 2*time.Minute)
}
