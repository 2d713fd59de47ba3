package plan

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const shop = `
name: shop
owner: {team: platform}
lock: {backend: etcd, endpoints: [10.0.0.1:2379], ttl: 10s, password: "${SHOP_PASSWORD}"}
nodes:
  - {name: app-a, roles: [client], via: [ssh, app-a]}
  - {name: app-b, roles: [client], via: [ssh, app-b]}
trials: 2
safety: {max_fault: 30s}
locks:
  - name: billing
    owner: {team: billing, contact: "#billing"}
    lock: {key: /locks/billing, ttl: 20s}
    resource: {kind: http, url: "http://ledger:8080/entries/{row}"}
    waivers: [{item: tls_and_auth, owner: jane, reason: private network, until: 2026-12-31}]
  - name: stock
    lock: {backend: redis, endpoints: [10.0.0.9:6379], key: stock, purpose: efficiency}
    trials: 5
    probes: [contend]
`

func TestLocks(t *testing.T) {
	t.Setenv("SHOP_PASSWORD", "geheim")
	f, err := ParseFile([]byte(shop))
	if err != nil {
		t.Fatal(err)
	}
	if !f.Several || f.Name != "shop" || len(f.Locks) != 2 {
		t.Fatalf("%+v", f)
	}
	b, s := f.Locks[0], f.Locks[1]
	if b.Name != "billing" || b.File != "shop" || b.Owner.Team != "billing" || b.Lock.Backend != "etcd" || b.Lock.Key != "/locks/billing" ||
		b.Lock.TTL != 20*time.Second || b.Lock.Password != "geheim" || b.Resource == nil || len(b.Waivers) != 1 || b.Trials != 2 || !b.Probes.All {
		t.Errorf("billing: %+v", b)
	}
	if s.Name != "stock" || s.Owner.Team != "platform" || s.Lock.Backend != "redis" || s.Lock.Endpoints[0] != "10.0.0.9:6379" || s.Lock.TTL != 10*time.Second ||
		s.Lock.Purpose != Efficiency || s.Resource != nil || len(s.Waivers) != 0 || s.Trials != 5 || s.Probes.Names[0] != "contend" {
		t.Errorf("stock: %+v", s)
	}
	for _, p := range f.Locks {
		if len(p.Nodes) != 2 || p.Safety.MaxFault != 30*time.Second {
			t.Errorf("%s does not share the nodes and limits: %+v", p.Name, p)
		}
	}
	if &b.Nodes[0] == &s.Nodes[0] {
		t.Error("the plans share memory")
	}
	if out, err := RedactYAML([]byte(strings.Replace(shop, "key: stock", "key: stock, password: s3cret", 1))); err != nil || strings.Contains(string(out), "s3cret") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestOneLockIsAsBefore, and a list of one is a list.
func TestOneLockIsAsBefore(t *testing.T) {
	f, err := ParseFile([]byte(good))
	if err != nil || f.Several || f.Name != "billing-cron" || len(f.Locks) != 1 || f.Locks[0].File != "" {
		t.Errorf("%v %+v", err, f)
	}
	one := "name: x\nlocks: [{name: a, lock: {backend: redis, endpoints: [a:1], key: k, ttl: 1s}}]\n"
	if f, err = ParseFile([]byte(one)); err != nil || !f.Several || f.Locks[0].Name != "a" || f.Locks[0].File != "x" {
		t.Errorf("%v %+v", err, f)
	}
	if _, err := Parse([]byte(one)); err == nil {
		t.Error("Parse takes several locks for one")
	}
	path := filepath.Join(t.TempDir(), "plan.yaml")
	if err := os.WriteFile(path, []byte(one), 0o600); err != nil {
		t.Fatal(err)
	}
	if p, _, err := Load(path); err != nil || p.Name != "a" {
		t.Errorf("%v %+v", err, p)
	}
}

func TestLocksRefused(t *testing.T) {
	const base = "name: shop\nlock: {backend: redis, endpoints: [a:1], ttl: 1s}\n"
	for text, want := range map[string]string{
		base + "locks: []\n":                                                     "line 3, column 1: locks is not a list of locks",
		base + "locks: {name: a}\n":                                              "locks is not a list of locks",
		base + "locks: [{name: a, lock: {key: k}}]\nlocks: []\n":                 `key "locks" is given twice`,
		base + "locks: [a]\n":                                                    "lock number 1: it is not a mapping",
		base + "locks: [{lock: {key: k}}]\n":                                     "lock number 1: it has no name",
		base + "locks: [{name: A b, lock: {key: k}}]\n":                          `name "A b" is not a name`,
		base + "locks: [{name: a}]\n":                                            "lock a: lock.key is missing",
		base + "locks: [{name: a, lock: {key: k}}, {name: a, lock: {key: l}}]\n": `lock "a" is named twice`,
		base + "locks: [{name: a, lock: {kye: k}}]\n":                            `lock a: unknown key "kye"`,
		base + "locks: [{name: a, name: b, lock: {key: k}}]\n":                   `key "name" is given twice`,
		base + "locks: [{name: a, lock: {key: k}, nodes: []}]\n":                 "lock a: key \"nodes\" belongs to the whole file",
		base + "locks: [{name: a, lock: {key: k}, safety: {max_fault: 1h}}]\n":   "lock a: key \"safety\" belongs to the whole file",
		base + "locks: [{name: a, lock: {key: k}, locks: []}]\n":                 `unknown key "locks"`,
		base + "locks: [{name: a, lock: {key: k, ttl: 5}}]\n":                    `"5" is not a duration`,
		base + "locks: [{name: a, lock: {key: k}}]\nsafty: {}\n":                 `unknown key "safty"`,
		base + "waivers: []\nlocks: [{name: a, lock: {key: k}}]\n":               "waivers stand beside locks",
		"locks: [{name: a, lock: {key: k}}]\n":                                   `name "" is not a name`,
		good + "---\nname: y\n":                                                  "the plan has a second document",
		good + "---\nsafety: {max_fault: [\n":                                    "did not find",
	} {
		_, err := ParseFile([]byte(text))
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	t.Setenv("SHOP_PASSWORD", "x")
	if _, err := ParseFile([]byte(good + "---\n")); err == nil {
		// An empty second document sets nothing, and is refused like any other.
		t.Error("a second document passes")
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte(strings.ReplaceAll(shop, "${SHOP_PASSWORD}", "x")))
	f.Add([]byte("locks: [{name: a, lock: {key: [}}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := ParseFile(data)
		if err == nil && len(file.Locks) == 0 {
			t.Error("a file without a lock")
		}
	})
}
