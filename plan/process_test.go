package plan

import (
	"errors"
	"strings"
	"testing"
	"time"
)

const killable = `
name: x
lock: {backend: redis, endpoints: [10.0.0.1:6379], key: k, ttl: 1s}
nodes:
  - {name: app, roles: [client]}
  - {name: lock-1, roles: [lock], AGENT process: PROCESS}
`

func withProcess(process, agent string) string {
	return strings.NewReplacer("PROCESS", process, "AGENT", agent).Replace(killable)
}

func TestProcess(t *testing.T) {
	for text, want := range map[string]string{
		"etcd":                                `{"name":"etcd"}`,
		"{unit: redis-server}":                `{"unit":"redis-server"}`,
		"{port: 6379, proto: tcp}":            `{"port":6379,"proto":"tcp"}`,
		"{cmdline: redis-server *:6379}":      `{"cmdline":"redis-server *:6379"}`,
		"{pid_file: /run/redis.pid}":          `{"pid_file":"/run/redis.pid"}`,
		"{name: etcd}, restart: [etcd, '-x']": `{"name":"etcd"}`,
	} {
		p, err := Parse([]byte(withProcess(text, "agent: [lockaudit-agent, --allow-commands],")))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := p.Nodes[1].Process.Selector(); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v, want %s", text, got, err, want)
		}
	}
}

func TestProcessRefused(t *testing.T) {
	for text, want := range map[string]string{
		"{nane: etcd}":                  `unknown key "nane"`,
		"{}":                            "", // none
		"{name: etcd, port: 2379}":      "in 2 ways: name etcd, port 2379",
		"{port: 70000}":                 "out of range",
		"{port: 1, proto: icmp}":        `proto is "icmp"`,
		"{name: x, proto: tcp}":         `proto is "tcp"`,
		"[etcd]":                        "cannot unmarshal",
		"{}, restart: [etcd]":           "a restart command and no process",
		"etcd, restart: etcd":           "is not a list",
		"etcd, restart: [etcd]":         "is not started with --allow-commands",
		"{unit: a.service, unit: b}":    "given twice",
		"{name: etcd}, restrat: [etcd]": `unknown key "restrat"`,
	} {
		_, err := Parse([]byte(withProcess(text, "")))
		var e *Error
		if want == "" && err != nil || want != "" && (!errors.As(err, &e) || !strings.Contains(e.Msg, want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if _, err := Parse([]byte("name: x\nlock: {backend: redis, endpoints: [a:1], key: k, ttl: 1s}\nnodes: [{name: a, roles: [client], process: etcd}]\n")); err == nil || !strings.Contains(err.Error(), "has not the role lock") {
		t.Errorf("the process of a client node: %v", err)
	}
}

func TestHooks(t *testing.T) {
	with := func(hooks string) string {
		return withProcess("etcd", "agent: [lockaudit-agent, --allow-commands],") + "hooks: " + hooks + "\n"
	}
	p, err := Parse([]byte(with("{failover: {node: lock-1, inject: [aws, rds, 'failover'], revert: ['true'], check: [check, it], timeout: 20s}}")))
	if err != nil {
		t.Fatal(err)
	}
	if h := p.Hooks[Failover]; len(h.Inject) != 3 || h.Check[1] != "it" || h.Timeout != 20*time.Second || h.Node != "lock-1" {
		t.Errorf("%+v", h)
	}
	if p, err = Parse([]byte(with("{a: {node: lock-1, inject: [x], revert: [y]}}"))); err != nil || p.Hooks["a"].Timeout != DefaultHookTimeout {
		t.Errorf("%+v, %v", p, err)
	}
	for text, want := range map[string]string{
		"{a: {node: lock-1, inject: [x], revrt: [y]}}":               `unknown key "revrt"`,
		"{a: {node: lock-1, inject: [x]}}":                           "no inject or no revert",
		"{a: {node: lock-9, inject: [x], revert: [y]}}":              "no node of the plan",
		"{a: {inject: [x], revert: [y]}}":                            `node "" is no node`,
		"{A b: {node: lock-1, inject: [x], revert: [y]}}":            "not a name",
		"{a: {node: lock-1, inject: x, revert: [y]}}":                "is not a list",
		"{a: {node: lock-1, inject: [x], revert: [y], timeout: 5}}":  "not a duration",
		"{a: {node: lock-1, inject: [x], revert: [y], timeout: 5m}}": "out of range",
		"{a: {node: app, inject: [x], revert: [y]}}":                 `node "app" has the hook a, and its agent is not started with --allow-commands`,
		"[x]": "cannot unmarshal",
	} {
		_, err := Parse([]byte(with(text)))
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Msg, want) || strings.Contains(e.Error(), "\n") {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
