package zookeeper_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/conformance"
	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/locks/zookeeper"
)

// limit fails only what hangs.
const limit = 2 * time.Minute

func inspect(t *testing.T, target locks.Target) facts.Deployment {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	d, err := zookeeper.Driver{}.Inspect(ctx, target)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func setting(d facts.Deployment, name string) string {
	for _, s := range d.Settings {
		if s.Name == name {
			return s.Value
		}
	}
	return ""
}

// TestInspectEnsemble: three voters and an observer, of which the plan names the voters,
// one of them twice, and one that is not there.
func TestInspectEnsemble(t *testing.T) {
	t.Parallel()
	all := servers.StartEnsemble(t, 3, 1)
	twice := strings.Replace(all[0].Endpoint, "127.0.0.1", "localhost", 1)
	dead := conformance.Address(t)
	target := locks.Target{Endpoints: []string{all[0].Endpoint, all[1].Endpoint, all[2].Endpoint, twice, dead}, TTL: 100 * time.Millisecond}
	d := inspect(t, target)
	unread := func(m facts.Member) bool { return m.Err != "" && m.Endpoint != dead }
	for end := time.Now().Add(time.Minute); slices.ContainsFunc(d.Members, unread) && time.Now().Before(end); {
		d = inspect(t, target) // on a busy machine one of them may answer too late
	}
	if d.Consensus != "zab" || d.Voters != 3 || d.Version != "3.8.0" && !strings.HasPrefix(d.Version, "3.") || *d.WallClock || !*d.OrderedTokens || *d.TLS || d.Auth == nil || *d.Auth {
		t.Errorf("%+v", d)
	}
	roles := map[string]int{}
	for _, m := range d.Members {
		roles[m.Role]++
		if (m.Err != "") != (m.Endpoint == dead) {
			t.Errorf("%+v", m)
		}
	}
	if roles["leader"] != 1 || roles["follower"] != 2 || len(d.Members) != 4 {
		t.Errorf("members: %+v", d.Members)
	}
	if got, want := setting(d, "one server with several endpoints"), all[0].Endpoint+", "+twice; got != want {
		t.Errorf("fake quorum: %q, want %q; %+v", got, want, d.Members)
	}
	if got := setting(d, "a server of the ensemble that the plan does not name"); !strings.HasPrefix(got, "server.4=") || !strings.Contains(got, ":observer") {
		t.Errorf("the observer: %q", got)
	}
	least := 2 * servers.ZooKeeperTick
	if d.MinTTL != least || setting(d, "session timeouts at "+all[0].Endpoint) != fmt.Sprintf("%s to 1m0s", least) {
		t.Errorf("session limits: least %s, %+v", d.MinTTL, d.Settings)
	}
	if got := setting(d, "a cut follower serves its clients, at "+all[0].Endpoint); got != "for up to 2s (syncLimit ticks), longer than the session timeout of 400ms: one that has expired may look alive there" {
		t.Errorf("syncLimit: %q", got)
	}
	if got := setting(d, "session timeout asked of "+all[0].Endpoint); got != "100ms, of which it grants 400ms" {
		t.Errorf("asked and granted: %q", got)
	}
	for _, e := range all[:3] {
		if got := setting(d, "zxid at "+e.Endpoint); !strings.HasPrefix(got, "0x") {
			t.Errorf("zxid at %s: %q", e.Endpoint, got)
		}
	}
}

// TestWhatMayNotBeAskedIsUnknown: by default the servers answer the word srvr alone, and
// the rest is said to be missing.
func TestWhatMayNotBeAskedIsUnknown(t *testing.T) {
	t.Parallel()
	s := servers.StartZooKeeper(t, servers.ZooKeeper{Lines: []string{"4lw.commands.whitelist=srvr"}})
	d := inspect(t, locks.Target{Endpoints: []string{s.Endpoint}})
	unknown := strings.Join(d.Unknown, "\n")
	for _, want := range []string{"conf at ", "mntr at ", "cons at ", "4lw.commands.whitelist", "forceSync"} {
		if !strings.Contains(unknown, want) {
			t.Errorf("%q is not among the unknown:\n%s", want, unknown)
		}
	}
	if setting(d, "session timeouts at "+s.Endpoint) != "400ms to 1m0s" {
		t.Errorf("session limits: %+v", d.Settings)
	}
	if m := d.Members[0]; d.Durable != nil || d.Voters != 1 || m.Role != "standalone" || m.ID == "" {
		t.Errorf("%+v", d)
	}
}

// TestAdminServerTells what no word does: that writes are answered before they are on the
// disk, and that access lists count for nothing.
func TestAdminServerTells(t *testing.T) {
	t.Parallel()
	port := conformance.Port(t)
	s := servers.StartZooKeeper(t, servers.ZooKeeper{Properties: []string{
		"zookeeper.admin.enableServer=true", "zookeeper.admin.serverAddress=127.0.0.1", fmt.Sprintf("zookeeper.admin.serverPort=%d", port),
		"zookeeper.forceSync=no", "zookeeper.skipACL=yes",
	}})
	d := inspect(t, locks.Target{Endpoints: []string{s.Endpoint}, Options: json.RawMessage(fmt.Sprintf(`{"admin_port": %d}`, port))})
	if d.Durable == nil || *d.Durable || setting(d, "zookeeper.skipACL at "+s.Endpoint) != "yes" {
		t.Errorf("%+v", d)
	}
}

// TestKnownBugs: the table is of lines of versions.
func TestKnownBugs(t *testing.T) {
	for version, want := range map[string][]string{
		"3.4.3": {"1496", "2355"}, "3.4.10": {"2355"}, "3.4.14": nil,
		"3.5.9": {"4262"}, "3.5.10": nil, "3.8.0": nil, "3.9.1": {"4785", "4712"}, "3.10.0": nil, "unknown": nil,
	} {
		got := zookeeper.BugsOf(version)
		if len(got) != len(want) || slices.ContainsFunc(want, func(n string) bool { return !strings.Contains(strings.Join(got, " "), n) }) {
			t.Errorf("%s: %q, want %q", version, got, want)
		}
	}
}
