package plan

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Hook is a user's own fault: the commands that inject, revert and check it, as
// lists of arguments. It is for what no agent can reach, such as the failover of a
// managed service.
type Hook struct {
	// Node is where the commands run.
	Node   string   `yaml:"node"`
	Inject []string `yaml:"inject"`
	Revert []string `yaml:"revert"`
	Check  []string `yaml:"check,omitempty"`
	// Timeout bounds each command; default 10 s.
	Timeout time.Duration `yaml:"timeout,omitempty"`
}

// Failover is the name of the hook by which the lock service fails over, where no
// server can be killed by an agent.
const Failover = "failover"

// Timeouts of a hook.
const (
	DefaultHookTimeout = 10 * time.Second
	maxHookTimeout     = 30 * time.Second
)

func (p *Plan) validateHooks() error {
	for _, name := range slices.Sorted(maps.Keys(p.Hooks)) {
		h := p.Hooks[name]
		at := slices.IndexFunc(p.Nodes, func(n Node) bool { return n.Name == h.Node })
		switch {
		case !nodeName.MatchString(name):
			return &Error{Msg: fmt.Sprintf("hook name %q is not a name", name), Hint: "lower-case letters, digits, dot, dash and underscore"}
		case at < 0:
			return &Error{Msg: fmt.Sprintf("hooks.%s.node %q is no node of the plan", name, h.Node), Hint: "name the node on which the commands run"}
		case len(h.Inject) == 0 || len(h.Revert) == 0:
			return &Error{Msg: fmt.Sprintf("hooks.%s has no inject or no revert command", name), Hint: "for example inject: [failover, db-1] and revert: [failover, db-2]; a revert that has nothing to do is [\"true\"]"}
		case h.Timeout < 0 || h.Timeout > maxHookTimeout:
			return &Error{Msg: fmt.Sprintf("hooks.%s.timeout %s is out of range", name, h.Timeout), Hint: "up to 30s; 10s is the default"}
		case !slices.Contains(p.Nodes[at].Agent, allowCommands):
			return p.Nodes[at].needsFlag("the hook " + name)
		}
	}
	return nil
}
