package plan

import (
	"errors"
	"strings"
	"testing"
	"time"
)

const good = `
name: billing-cron
lock: {backend: etcd, endpoints: [10.0.0.1:2379], key: /locks/billing, ttl: 10s}
resource: {kind: http, url: "http://ledger:8080/entries/{row}", token_header: X-Fencing-Token}
nodes:
  - {name: app-a, roles: [client], via: [ssh, app-a]}
  - {name: app-b, roles: [client], via: [ssh, app-b]}
  - {name: etcd-1, roles: [lock], via: [ssh, etcd-1]}
`

func TestParseFillsDefaults(t *testing.T) {
	p, err := Parse([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if p.Lock.TTL != 10*time.Second || p.Lock.Purpose != Correctness || p.Trials != DefaultTrials ||
		p.Safety.MaxFault != DefaultMaxFault || !p.Probes.All {
		t.Errorf("defaults not filled in: %+v", p)
	}
	if got := len(p.ClientNodes()); got != 2 {
		t.Errorf("client nodes = %d, want 2", got)
	}
	if p.Nodes[0].Agent[0] != "lockaudit-agent" {
		t.Errorf("agent command = %v", p.Nodes[0].Agent)
	}
	if got := p.ClientCommand("app-a", "a"); strings.Join(got, " ") != "lockaudit client etcd" {
		t.Errorf("client command = %v", got)
	}
}

func TestParseWithoutNodesIsThisMachine(t *testing.T) {
	p, err := Parse([]byte("name: x\nlock: {backend: redis, endpoints: [127.0.0.1:6379], key: k, ttl: 1s}\nprobes: [contend]\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Nodes) != 1 || !p.Nodes[0].Has(RoleClient) || len(p.Nodes[0].Via) != 0 {
		t.Errorf("nodes = %+v", p.Nodes)
	}
	if p.Probes.All || len(p.Probes.Names) != 1 {
		t.Errorf("probes = %+v", p.Probes)
	}
}

func TestParseRefuses(t *testing.T) {
	lock := func(s string) string { return "name: x\nlock: {" + s + "}\n" }
	full := "backend: redis, endpoints: [127.0.0.1:6379], key: k, ttl: 1s"
	tests := []struct {
		name, text string
		line       int // 0: any
		msg, hint  string
	}{
		{"unknown key with suggestion", "name: x\nlock:\n  backend: etcd\n  ttll: 10s\n", 4, `unknown key "ttll"`, `did you mean "ttl"?`},
		{"unknown key at the top", "name: x\nsaftey: {}\n", 2, `unknown key "saftey"`, `did you mean "safety"?`},
		{"unknown key far from all", "name: x\nquux: 1\n", 2, `unknown key "quux"`, "known here: clients, hooks, lock"},
		{"duration without unit", lock("backend: redis, endpoints: [127.0.0.1:6379], key: k, ttl: 10"), 2, `"10" is not a duration`, "unit"},
		{"duration of letters", lock("backend: redis, endpoints: [127.0.0.1:6379], key: k, ttl: soon"), 2, `"soon" is not a duration`, "unit"},
		{"no ttl", lock("backend: redis, endpoints: [127.0.0.1:6379], key: k"), 0, "lock.ttl is missing", "ttl: 10s"},
		{"negative ttl", lock("backend: redis, endpoints: [127.0.0.1:6379], key: k, ttl: -1s"), 0, "out of range", ""},
		{"no endpoints", lock("backend: redis, key: k, ttl: 1s"), 0, "lock.endpoints is missing", ""},
		{"endpoint without port", lock("backend: redis, endpoints: [localhost], key: k, ttl: 1s"), 0, `"localhost" is not host:port`, ""},
		{"unknown purpose", lock(full + ", purpose: fun"), 0, `"fun" is unknown`, "correctness"},
		{"half a client certificate", lock(full + ", tls: {cert: a}"), 0, "only one of cert and key", ""},
		{"unknown role", lock(full) + "nodes: [{name: a, roles: [king]}]\n", 0, `unknown role "king"`, "client, lock"},
		{"node twice", lock(full) + "nodes: [{name: a, roles: [client]}, {name: a, roles: [client]}]\n", 0, "twice", ""},
		{"no client node", lock(full) + "nodes: [{name: a, roles: [lock]}]\n", 0, "role client", ""},
		{"node name with a slash", lock(full) + "nodes: [{name: ../a, roles: [client]}]\n", 0, "not a name", ""},
		{"duplicate key", "name: x\nname: y\n", 2, "name", ""},
		{"not yaml", "name: [x\n", 0, "", ""},
		{"empty", "", 0, "", ""},
		{"unset variable", lock(full + `, password: "${LOCKAUDIT_TEST_UNSET}"`), 0, "LOCKAUDIT_TEST_UNSET is not set", "export"},
		{"both clients", lock(full) + "clients: {builtin: true, exec: [x]}\n", 0, "both", ""},
		{"trials", lock(full) + "trials: -1\n", 0, "trials -1", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse([]byte(tt.text))
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("err = %v, want a *plan.Error", err)
			}
			if strings.Contains(e.Error(), "\n") {
				t.Errorf("error has more than one line: %q", e.Error())
			}
			if tt.line != 0 && e.Line != tt.line {
				t.Errorf("line = %d, want %d (%v)", e.Line, tt.line, e)
			}
			if !strings.Contains(e.Msg, tt.msg) || !strings.Contains(e.Hint, tt.hint) {
				t.Errorf("error = %q, hint = %q; want %q, %q", e.Msg, e.Hint, tt.msg, tt.hint)
			}
		})
	}
}

func TestSecretFromEnvironment(t *testing.T) {
	t.Setenv("LOCKAUDIT_TEST_SECRET", `p"w&x`)
	p, err := Parse([]byte(`
name: x
lock: {backend: redis, endpoints: [10.0.0.1:6379], key: k, ttl: 1s, password: "${LOCKAUDIT_TEST_SECRET}", options: {sentinel: m, sentinel_password: "${LOCKAUDIT_TEST_SECRET}"}}
`))
	if err != nil {
		t.Fatal(err)
	}
	if p.Lock.Password != `p"w&x` || p.Lock.Options["sentinel_password"] != `p"w&x` || p.Lock.Options["sentinel"] != "m" {
		t.Errorf("password = %q, options %q", p.Lock.Password, p.Lock.Options)
	}
}

func TestRedactYAML(t *testing.T) {
	out, err := RedactYAML([]byte(`# the billing lock
name: redis # not a secret
lock: {backend: redis, endpoints: ["redis://u:s3cret@10.0.0.1:6379"], password: redis, username: u, options: {sentinel_password: hidden}}
resource: {password: "${FROM_ENV}", url: http://u:other@ledger/x}
`))
	if err != nil {
		t.Fatal(err)
	}
	text := string(out)
	for _, want := range []string{"# the billing lock", "name: redis", "backend: redis", "password: REDACTED", "redis://u:REDACTED@10.0.0.1:6379", "${FROM_ENV}"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in:\n%s", want, text)
		}
	}
	for _, secret := range []string{"s3cret", "other", "password: redis", "hidden"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q left in:\n%s", secret, text)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("name: x\nprobes: passive\n"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse(data)
		if err == nil && (p.Lock.TTL <= 0 || len(p.ClientNodes()) == 0) {
			t.Errorf("accepted a plan that validation promises to refuse: %+v", p)
		}
	})
}
