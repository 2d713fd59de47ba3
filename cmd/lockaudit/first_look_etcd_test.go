package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"

	"github.com/lockaudit/lockaudit/locks/locktest/servers"
)

// lookAtEtcd runs init and inspect under exactly the guide's role: revision,
// keys and leases are the same afterwards. Then the role loses what it has.
func lookAtEtcd(t *testing.T, bin string) {
	admin, address := filledEtcd(t)
	l := newLooker(t, bin, "etcd://lockaudit@"+address)
	before := etcdContents(t, admin)

	if status, out := l.init(t); status != exitOK || !strings.Contains(out, "/locks/billing, a mutex: it is built as concurrency.Mutex builds it") {
		t.Fatalf("init: status %d\n%s", status, out)
	}
	if plan := l.readPlan(t); !strings.Contains(plan, `key: "/locks/billing"`) || !strings.Contains(plan, "ttl: 10m0s   # seen") {
		t.Errorf("the plan is not about the lock that was seen:\n%s", plan)
	}
	if status, out := l.run(t, "plan", "plan.yaml"); status != exitOK {
		t.Fatalf("plan: status %d\n%s", status, out)
	}
	status, out := l.inspect(t)
	if status != exitFail || !strings.Contains(out, "no letter") { // a single member is a failure
		t.Fatalf("inspect: status %d\n%s", status, out)
	}
	for _, bad := range []string{"needs the permission", "did not run as planned", "permission denied", "could not be read"} {
		if strings.Contains(out, bad) {
			t.Errorf("the guide's role is not enough:\n%s", out)
		}
	}
	if after := etcdContents(t, admin); after != before {
		t.Errorf("the store is not as it was:\n%s\n---\n%s", before, after)
	}
	noSecrets(t, l.dir)

	ctx := context.Background()
	if _, err := admin.RoleGrantPermission(ctx, "lockaudit", "/locks/", clientv3.GetPrefixRangeEnd("/locks/"), clientv3.PermissionType(clientv3.PermRead)); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.RoleRevokePermission(ctx, "lockaudit", "\x00", "\x00"); err != nil {
		t.Fatal(err)
	}
	if status, out := l.init(t); status != exitCouldNotRun || !strings.Contains(out, "needs the permission read on every key (etcdctl role grant-permission") {
		t.Errorf("without the right to read all: status %d\n%s", status, out)
	}
	if status, out := l.init(t, "--prefix", "/locks/"); status != exitOK || !strings.Contains(out, "/locks/billing, a mutex") {
		t.Errorf("with the narrower right: status %d\n%s", status, out)
	}
	if status, out := l.inspect(t); status != exitFail || strings.Contains(out, "did not run as planned") {
		t.Errorf("inspect with the narrower right: status %d\n%s", status, out)
	}
	if _, err := admin.RoleRevokePermission(ctx, "lockaudit", "/locks/", clientv3.GetPrefixRangeEnd("/locks/")); err != nil {
		t.Fatal(err)
	}
	if status, out := l.init(t, "--prefix", "/locks/"); status != exitCouldNotRun || !strings.Contains(out, "needs the permission read on all below /locks/") {
		t.Errorf("without any right: status %d\n%s", status, out)
	}
	if _, out := l.inspect(t); !strings.Contains(strings.Join(strings.Fields(out), " "), "needs the permission read on all below /locks/billing") {
		t.Errorf("inspect without any right does not name it:\n%s", out)
	}
}

// filledEtcd is a member with users, a lock and two that wait, a leader, a service
// that is registered under a lease, and much without one.
func filledEtcd(t *testing.T) (admin *clientv3.Client, address string) {
	t.Helper()
	s := servers.StartEtcd(t)
	open := etcdClient(t, s.Endpoint, "", "")
	ctx := context.Background()
	check := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var keys []string
	for range 3 { // the holder, and two that wait
		lease, err := open.Grant(ctx, 600)
		check(lease, err)
		key := fmt.Sprintf("/locks/billing/%x", int64(lease.ID))
		keys = append(keys, key)
		check(open.Put(ctx, key, "", clientv3.WithLease(lease.ID)))
	}
	// It is what concurrency.Mutex makes: the test would show little otherwise.
	session, err := concurrency.NewSession(open, concurrency.WithTTL(600))
	check(session, err)
	t.Cleanup(session.Orphan)
	if err := concurrency.NewElection(session, "/election/jobs").Campaign(ctx, "app-1"); err != nil {
		t.Fatal(err)
	}
	mutex := concurrency.NewMutex(session, "/locks/billing")
	if err := mutex.TryLock(ctx); err == nil || mutex.Key() == keys[0] {
		t.Fatalf("TryLock: %v; the keys are not a mutex's", err)
	}
	check(open.Put(ctx, "/services/web/10.0.0.7:80", "{}", clientv3.WithLease(session.Lease())))
	for i := range 1200 {
		check(open.Put(ctx, fmt.Sprintf("/config/%d", i), "x"))
	}
	check(open.UserAdd(ctx, "root", "der-chef"))
	check(open.RoleAdd(ctx, "root"))
	check(open.UserGrantRole(ctx, "root", "root"))
	runGuide(t, open)
	session.Orphan() // no keep-alive: that is a request of the application's
	check(open.AuthEnable(ctx))
	return etcdClient(t, s.Endpoint, "root", "der-chef"), s.Endpoint
}

// runGuide does what the guide's etcdctl commands do.
func runGuide(t *testing.T, c *clientv3.Client) {
	t.Helper()
	ctx := context.Background()
	for _, line := range guide(t, "etcd") {
		var err error
		switch f := strings.Fields(strings.ReplaceAll(line, "PASSWORD", lookPassword)); {
		case slices.Equal(f[:3], []string{"etcdctl", "role", "add"}):
			_, err = c.RoleAdd(ctx, f[3])
		case slices.Equal(f[:3], []string{"etcdctl", "role", "grant-permission"}) && slices.Equal(f[4:], []string{"--prefix=true", "read", "''"}):
			_, err = c.RoleGrantPermission(ctx, f[3], "\x00", "\x00", clientv3.PermissionType(clientv3.PermRead)) // as etcdctl does
		case slices.Equal(f[:3], []string{"etcdctl", "user", "add"}):
			name, password, _ := strings.Cut(f[3], ":")
			_, err = c.UserAdd(ctx, name, password)
		case slices.Equal(f[:3], []string{"etcdctl", "user", "grant-role"}):
			_, err = c.UserGrantRole(ctx, f[3], f[4])
		default:
			t.Fatalf("the guide has a command that is not known here: %q", line)
		}
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
}

func etcdClient(t *testing.T, endpoint, user, password string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{endpoint}, Username: user, Password: password, DialTimeout: 20 * time.Second, Logger: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// etcdContents is the revision, every key with its revisions and lease, and every
// lease with what it was granted for.
func etcdContents(t *testing.T, admin *clientv3.Client) string {
	t.Helper()
	ctx := context.Background()
	all, err := admin.Get(ctx, "\x00", clientv3.WithFromKey())
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Kvs) < 1200 {
		t.Fatalf("%d keys: the comparison would show little", len(all.Kvs))
	}
	var b strings.Builder
	fmt.Fprintln(&b, "revision", all.Header.Revision)
	for _, kv := range all.Kvs {
		fmt.Fprintln(&b, kv.String())
	}
	leases, err := admin.Leases(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, l := range leases.Leases {
		ttl, err := admin.TimeToLive(ctx, l.ID)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("lease %x of %d s", int64(l.ID), ttl.GrantedTTL))
	}
	slices.Sort(lines)
	return b.String() + strings.Join(lines, "\n")
}
