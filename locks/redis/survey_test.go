package redis_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/lockaudit/lockaudit/conformance"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/locks/redis"
	"github.com/lockaudit/lockaudit/survey"
)

// look surveys for a moment.
func look(t *testing.T, endpoint string, o survey.Options) (survey.Survey, error) {
	t.Helper()
	if o.Limit == 0 {
		o.Limit = 1000
	}
	o.For, o.Progress = 300*time.Millisecond, func(string, time.Time) {}
	return redis.Driver{}.Survey(t.Context(), locks.Target{Backend: "redis", Endpoints: []string{endpoint}}, o)
}

func admin(t *testing.T, endpoint string) *goredis.Client {
	t.Helper()
	c := goredis.NewClient(&goredis.Options{Addr: endpoint})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func do(t *testing.T, c *goredis.Client, words string) string {
	t.Helper()
	var args []any
	for word := range strings.FieldsSeq(words) {
		args = append(args, word)
	}
	out, err := c.Do(context.Background(), args...).Result()
	if err != nil {
		t.Fatalf("%s: %v", words, err)
	}
	return fmt.Sprint(out)
}

// until waits for an answer to contain something.
func until(t *testing.T, c *goredis.Client, words, want string) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		out := do(t, c, words)
		if strings.Contains(out, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %q is never in the answer:\n%s", words, want, out)
		}
	}
}

// TestSurveyFindsReplicas, and from a replica the way to where locks are taken.
func TestSurveyFindsReplicas(t *testing.T) {
	primary := servers.StartRedis(t)
	host, port, err := net.SplitHostPort(primary.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	replica := servers.StartRedis(t, "--replicaof", host, port)
	a := admin(t, primary.Endpoint)
	until(t, a, "INFO replication", "state=online")
	do(t, a, "SET the-lock app-1:4711 PX 600000")
	until(t, admin(t, replica.Endpoint), "GET the-lock", "app-1")
	for _, from := range []string{primary.Endpoint, replica.Endpoint} {
		s, err := look(t, from, survey.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if s.Topology != "a primary with 1 asynchronous replica" || len(s.Endpoints) != 1 || s.Endpoints[0] != primary.Endpoint ||
			len(s.Others) != 1 || s.Others[0].Endpoint != replica.Endpoint || len(s.Locks) != 1 || s.Service.Replicas != 1 {
			t.Errorf("from %s: %+v", from, s)
		}
		if told := strings.Contains(strings.Join(s.Notes, "\n"), "is a replica"); told != (from == replica.Endpoint) {
			t.Errorf("from %s: notes %q", from, s.Notes)
		}
	}
}

// TestSurveyOfACluster looks at the keys of each primary, and says that the lock client
// follows no redirects.
func TestSurveyOfACluster(t *testing.T) {
	var nodes []*servers.Server
	for range 2 {
		nodes = append(nodes, servers.StartRedis(t, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(conformance.Port(t))))
	}
	a, b := admin(t, nodes[0].Endpoint), admin(t, nodes[1].Endpoint)
	do(t, a, "CLUSTER ADDSLOTSRANGE 0 8191")
	do(t, b, "CLUSTER ADDSLOTSRANGE 8192 16383")
	_, port, err := net.SplitHostPort(nodes[1].Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	bus := do(t, b, "CONFIG GET cluster-port")
	do(t, a, "CLUSTER MEET 127.0.0.1 "+port+" "+strings.Trim(bus[strings.LastIndexAny(bus, " :")+1:], "[]"))
	for _, c := range []*goredis.Client{a, b} {
		until(t, c, "CLUSTER INFO", "cluster_state:ok")
		until(t, c, "CLUSTER INFO", "cluster_size:2")
	}
	do(t, a, "SET lock:{b} app-1:1 PX 600000") // slot 3300
	do(t, b, "SET lock:{a} app-1:1 PX 600000") // slot 15495
	s, err := look(t, nodes[0].Endpoint, survey.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Topology != "a cluster of 2 primaries" || s.Keys != 2 || !s.All || !strings.Contains(strings.Join(s.Notes, "\n"), "follows no redirects") {
		t.Errorf("%+v", s)
	}
	refusesRedirects(t, nodes[0].Endpoint, nodes[1].Endpoint)
	found := 0
	for _, g := range s.Locks {
		found += g.Keys
	}
	if found != 2 {
		t.Errorf("locks: %+v, want that of each primary", s.Locks)
	}
}

// TestSurveyIsBounded: no more keys than the limit are asked for in the first pass, and
// a prefix is no pattern.
func TestSurveyIsBounded(t *testing.T) {
	s := servers.StartRedis(t)
	a := admin(t, s.Endpoint)
	ctx := context.Background()
	if _, err := a.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for i := range 5000 {
			p.Set(ctx, fmt.Sprintf("cache:%d", i), "x", 0)
		}
		p.Set(ctx, "[a]*lock", "app-1:1", time.Hour)
		p.Set(ctx, "alock", "app-1:1", time.Hour)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	few, err := look(t, s.Endpoint, survey.Options{Limit: 1000})
	if err != nil || few.All || few.Keys < 1000 || few.Keys > 2000 { // SCAN may give more than it is asked for
		t.Errorf("%d keys, all: %t, %v", few.Keys, few.All, err)
	}
	literal, err := look(t, s.Endpoint, survey.Options{Limit: 100_000, Prefix: "[a]*"})
	if err != nil || !literal.All || len(literal.Locks) != 1 || literal.Locks[0].Key != "[a]*lock" {
		t.Errorf("%+v, %v", literal, err)
	}
}

// TestSurveyOfASentinel says that no lock is there.
func TestSurveyOfASentinel(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sentinel.conf") // it keeps its state there, and wants one
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", conformance.Port(t))
	sentinel := exec.Command("redis-server", file, "--sentinel", "--bind", "127.0.0.1", "--port", strings.TrimPrefix(address, "127.0.0.1:"))
	sentinel.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := sentinel.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sentinel.Process.Kill(); _ = sentinel.Wait() })
	for deadline := time.Now().Add(60 * time.Second); admin(t, address).Ping(t.Context()).Err() != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the sentinel never answers")
		}
	}
	_, err := look(t, address, survey.Options{})
	if err == nil || !strings.Contains(err.Error(), "Sentinel") {
		t.Errorf("%v", err)
	}
}

// TestObserveReadsWhatRedissonWrote: an application's own lock may be a hash.
func TestObserveReadsWhatRedissonWrote(t *testing.T) {
	s := servers.StartRedis(t)
	a := admin(t, s.Endpoint)
	do(t, a, "HSET lock 3b2f:1 1")
	do(t, a, "PEXPIRE lock 600000")
	c, err := redis.Driver{}.Open(t.Context(), locks.Target{Endpoints: []string{s.Endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	h, err := c.(locks.Observer).Observe(t.Context(), "lock")
	if err != nil || !h.Held || h.ID != "3b2f:1" || h.Left <= 0 || h.Left > 10*time.Minute {
		t.Errorf("%+v, %v", h, err)
	}
	do(t, a, "HSET lock other 1")
	if h, err := c.(locks.Observer).Observe(t.Context(), "lock"); err == nil {
		t.Errorf("two fields are taken for one holder: %+v", h)
	}
}

// refusesRedirects: the lock client says plainly what it has met, and where the key is.
func refusesRedirects(t *testing.T, first, second string) {
	t.Helper()
	for _, options := range []string{"", `{"fencing_counter": "{a}:fencing"}`} {
		c, err := redis.Driver{}.Open(t.Context(), locks.Target{Endpoints: []string{first}, Options: json.RawMessage(options)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, acquired := c.Acquire(t.Context(), "{a}:job", time.Second, 0) // slot 15495
		_, observed := c.(locks.Observer).Observe(t.Context(), "{a}:job")
		for what, err := range map[string]error{"acquire": acquired, "observe": observed} {
			if err == nil || !strings.Contains(err.Error(), "this is a Redis Cluster, in which "+second+" serves the key, and this client follows no redirects") {
				t.Errorf("%s: %v", what, err)
			}
		}
		if !errors.Is(acquired, locks.ErrRefused) {
			t.Errorf("acquire: %v: a redirect has no effect", acquired)
		}
	}
}
