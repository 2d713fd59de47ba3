package plan

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestObserve(t *testing.T) {
	const head = "name: x\nlock: {backend: BACKEND, endpoints: [10.0.0.1:1], key: /locks/x, ttl: 2s}\nresource: {kind: KIND, url: \"http://ledger:8080/{row}\"}\n" +
		"nodes: [{name: a, roles: [client]}, {name: b, roles: [client]}]\n"
	for _, c := range []struct{ observe, more, want string }{
		{`owner: '^(?P<host>[^:]+):(?P<pid>\d+)$'`, "", ""},
		{`connection: true, process: {unit: billing}`, "", ""},
		{`owner: '(?P<addr>.+):(?P<port>\d+)'`, "", ""},
		{`owner: '(?P<node>.+)', process: {pid_file: "/run/{node}.pid"}, effects: {log: /var/log/x.log, accepted: 'wrote (?P<token>\d+)'}`, "safety: {allow_harm: true}\n", ""},
		{`process: {unit: billing}`, "", "does not say which instance holds the lock"},
		{`owner: 'x', connection: true`, "", "both owner and connection"},
		{`owner: '(?P<pid>\d+)'`, "", "no group node, host or addr"},
		{`owner: '(?P<host>.+)'`, "", "and not which process there"},
		{`owner: '(?P<hots>.+)'`, "", `unknown group "hots"`},
		{`owner: '(?P<host>'`, "", "clients.observe.owner: error parsing regexp"},
		{`connection: true, process: {unit: a, port: 1}`, "", "several ways"},
		{`connection: true, take_within: 10ms`, "", "out of range"},
		{`connection: true, effects: {accepted: x}`, "", "needs log, http, sql or tap"},
		{`connection: true, effects: {log: x.log, accepted: x}`, "", "not an absolute path"},
		{`connection: true, effects: {log: /x.log}`, "", "accepted is missing"},
		{`connection: true, effects: {http: "http://x", accepted: x}`, "", "no group node, host or addr"},
		{`connection: true, effects: {sql: SELECT 1, accepted: '(?P<host>.+)'}`, "", "needs a resource of kind postgres"},
		{`connection: true, effects: {tap: /x, tap_node: c}`, "", "is no node of the plan"},
		{`connection: true, effects: {tap: /x, tap_node: a, accepted: x}`, "", "says by itself"},
		{`connection: true`, "safety: {allow_harm: true}\n", "without clients.observe.effects"},
		{`conection: true`, "", `unknown key "conection"`},
	} {
		text := strings.NewReplacer("BACKEND", "redis", "KIND", "http").Replace(head) + "clients: {observe: {" + c.observe + "}}\n" + c.more
		p, err := Parse([]byte(text))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.observe, err)
		case c.want == "" && p.Clients.Observe.TakeWithin != time.Minute:
			t.Errorf("%s: take_within %s", c.observe, p.Clients.Observe.TakeWithin)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.observe, err, c.want)
		}
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Errorf("%s: %T has no place and no hint", c.observe, err)
		}
	}
	etcd := strings.NewReplacer("BACKEND", "etcd", "KIND", "http").Replace(head)
	if _, err := Parse([]byte(etcd + "clients: {observe: {connection: true}}\n")); err == nil || !strings.Contains(err.Error(), "etcd does not tell") {
		t.Errorf("etcd by connection: %v", err)
	}
	if _, err := Parse([]byte(etcd + "safety: {allow_harm: true}\n")); err == nil || !strings.Contains(err.Error(), "allow_harm without clients.observe") {
		t.Errorf("harm without an application: %v", err)
	}
	if p := (Process{PIDFile: "/run/{node}.pid"}).At("a"); p.PIDFile != "/run/a.pid" {
		t.Errorf("pid file %s", p.PIDFile)
	}
}
