package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockaudit/lockaudit/locks/locktest/servers"
)

// lookBySentinels runs init and inspect by way of two Sentinels, under exactly the guide's
// rights there and at the master, and then without each of those that the Sentinels give.
func lookBySentinels(t *testing.T, bin string) {
	admin, master := filledRedis(t)
	grant(t, admin, "lockaudit", redisRights(t))
	host, port, err := net.SplitHostPort(master)
	if err != nil {
		t.Fatal(err)
	}
	servers.StartRedis(t, "--replicaof", host+" "+port, "--masterauth", "der-chef")
	var chiefs []*redis.Client
	var addresses []string
	for range 2 {
		s := servers.StartSentinel(t, master, 2, "sentinel auth-pass mymaster der-chef")
		c := redis.NewClient(&redis.Options{Addr: s.Endpoint})
		t.Cleanup(func() { _ = c.Close() })
		chiefs, addresses = append(chiefs, c), append(addresses, s.Endpoint)
	}
	rights := sentinelRights(t)
	t.Setenv("LOCKAUDIT_SENTINEL_USER", "lockaudit")
	t.Setenv("LOCKAUDIT_SENTINEL_PASSWORD", lookPassword)
	grantAtSentinels(t, chiefs, "lockaudit", rights)
	untilSentinelsMeet(t, chiefs)
	before, contents := sentinelState(t, chiefs), redisContents(t, admin)

	// One Sentinel and no master's name: the rest is found from there.
	l := newLooker(t, bin, "redis+sentinel://lockaudit@"+addresses[0])
	status, out := l.init(t)
	if status != exitOK || !strings.Contains(out, "a master with 1 asynchronous replica, behind 2 Sentinels with a quorum of 2") {
		t.Fatalf("init: status %d\n%s", status, out)
	}
	for _, want := range []string{"/locks/billing", "note: Sentinels on one machine: ", "note: Redis servers on one machine: ", "note: min-replicas-to-write is 0"} {
		if !strings.Contains(out, want) {
			t.Errorf("init does not say %q:\n%s", want, out)
		}
	}
	plan := l.readPlan(t)
	for _, want := range append(addresses, `options: {sentinel: "mymaster", sentinel_username: "lockaudit", sentinel_password: "${LOCKAUDIT_SENTINEL_PASSWORD}"}`) {
		if !strings.Contains(plan, want) {
			t.Errorf("the plan has no %q:\n%s", want, plan)
		}
	}
	status, out = l.inspect(t)
	if status != exitFail || !strings.Contains(out, "no letter") || strings.Contains(out, "needs the permission") || strings.Contains(out, "did not run as planned") {
		t.Errorf("inspect: status %d\n%s", status, out)
	}
	if after := sentinelState(t, chiefs); after != before {
		t.Errorf("the Sentinels are not as they were:\n%s\n---\n%s", before, after)
	}
	if after := redisContents(t, admin); after != contents {
		t.Error("the store is not as it was")
	}
	noSecrets(t, l.dir)

	for i, right := range rights {
		t.Run("without "+right, func(t *testing.T) {
			user := fmt.Sprintf("without-%d", i)
			grantAtSentinels(t, chiefs, user, slices.Delete(slices.Clone(rights), i, i+1))
			t.Setenv("LOCKAUDIT_SENTINEL_USER", user)
			l := newLooker(t, bin, "redis+sentinel://lockaudit@"+addresses[0])
			_, out := l.init(t)
			if right == "+sentinel|get-master-addr-by-name" { // the lock client's alone
				l.plan(t, strings.Replace(plan, `sentinel_username: "lockaudit"`, "sentinel_username: "+user, 1))
				_, out = l.inspect(t)
			}
			if !strings.Contains(strings.Join(strings.Fields(out), " "), "needs the permission "+right+":") {
				t.Errorf("nothing names it:\n%s", out)
			}
		})
	}
	grantAtSentinels(t, chiefs, "pinger", []string{"+ping", "+info"})
	for url, hint := range map[string]string{
		"redis://pinger@" + addresses[0]:                               "hint: redis+sentinel://",
		"redis+sentinel://lockaudit@" + addresses[0] + "/another":      "hint: the name behind the address",
		"redis+sentinel://lockaudit@" + addresses[0] + "/my/master":    "hint: redis+sentinel://10.0.0.1:26379/mymaster",
		"redis+sentinel://lockaudit@" + master + "/mymaster":           "hint: that is a Redis",
		"redis+sentinel://lockaudit@127.0.0.1:1," + "127.0.0.1:2/nope": "hint: nobody listens there",
	} {
		wrong := newLooker(t, bin, url)
		if status, out := wrong.init(t); status == exitOK || status == exitInconclusive || !strings.Contains(out, hint) {
			t.Errorf("%s: status %d, want %q\n%s", url, status, hint, out)
		}
	}
}

// sentinelRights are the permissions of the guide at a Sentinel.
func sentinelRights(t *testing.T) []string {
	t.Helper()
	lines := guide(t, "sentinel")
	words := strings.Fields(lines[0])
	head := []string{"ACL", "SETUSER", "lockaudit", "reset", "on", ">PASSWORD"}
	if len(lines) != 1 || !slices.Equal(words[:len(head)], head) {
		t.Fatalf("the guide's ACL is not one line that begins with %q: %q", head, lines)
	}
	return words[len(head):]
}

func grantAtSentinels(t *testing.T, chiefs []*redis.Client, user string, rights []string) {
	t.Helper()
	for _, c := range chiefs {
		args := []any{"ACL", "SETUSER", user, "reset", "on", ">" + lookPassword}
		for _, r := range rights {
			args = append(args, r)
		}
		do(t, c, args...)
	}
}

// untilSentinelsMeet waits until each knows the other and the replica.
func untilSentinelsMeet(t *testing.T, chiefs []*redis.Client) {
	t.Helper()
	for _, c := range chiefs {
		s := redis.NewSentinelClient(c.Options())
		defer s.Close()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
			m, err := s.Master(context.Background(), "mymaster").Result()
			if err == nil && m["num-other-sentinels"] == "1" && m["num-slaves"] == "1" && m["flags"] == "master" {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the Sentinels do not find each other: %v, %v", m, err)
			}
		}
	}
}

// sentinelState is what a Sentinel would be told to do: its configuration of the master.
func sentinelState(t *testing.T, chiefs []*redis.Client) string {
	t.Helper()
	var out []string
	for _, c := range chiefs {
		s := redis.NewSentinelClient(c.Options())
		defer s.Close()
		m, err := s.Master(context.Background(), "mymaster").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"name", "ip", "port", "runid", "flags", "config-epoch", "quorum", "down-after-milliseconds", "failover-timeout", "parallel-syncs", "num-slaves", "num-other-sentinels"} {
			out = append(out, name+" "+m[name])
		}
	}
	return strings.Join(out, "\n")
}
