// Package plan is the plan file: what is audited, where it lives, and what the
// audit may do to it. Parse refuses what it does not know, with line, column and
// a suggestion, because a key that is silently ignored is a safety limit that
// silently does not hold.
package plan

import (
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/locks"
)

// Plan is a parsed and validated plan file with its defaults filled in.
type Plan struct {
	Name string `yaml:"name"`
	// File is the name of the plan file where that has several locks, of which this is
	// one; "" where it has one.
	File string `yaml:"-"`
	// Owner is who answers for the lock.
	Owner    Owner     `yaml:"owner,omitempty"`
	Lock     Lock      `yaml:"lock"`
	Resource *Resource `yaml:"resource,omitempty"`
	Clients  Clients   `yaml:"clients,omitempty"`
	Nodes    []Node    `yaml:"nodes,omitempty"`
	Probes   Selection `yaml:"probes,omitempty"`
	// Trials is how often each active probe is repeated; default 3.
	Trials int `yaml:"trials,omitempty"`
	// Seed draws two shapes more in which partition-lock-servers parts the servers; 0:
	// none.
	Seed uint64 `yaml:"seed,omitempty"`
	// MeasureFor is how long each client node is watched for pauses; default 5 s.
	MeasureFor time.Duration `yaml:"measure_for,omitempty"`
	// Signals name where failures to acquire should show.
	Signals Signals `yaml:"signals,omitempty"`
	// Waivers are failures that are accepted for a while.
	Waivers []Waiver `yaml:"waivers,omitempty"`
	// Hooks are faults of the user's own, by name.
	Hooks  map[string]Hook `yaml:"hooks,omitempty"`
	Safety Safety          `yaml:"safety,omitempty"`
}

// Lock says which lock is audited.
type Lock struct {
	Backend   string   `yaml:"backend"`
	Endpoints []string `yaml:"endpoints"`
	Key       string   `yaml:"key"`
	// TTL of the lease that the real clients ask for.
	TTL     time.Duration `yaml:"ttl"`
	Purpose Purpose       `yaml:"purpose,omitempty"`
	// Takeover is how long the business accepts to be without a holder after a
	// crash; 0: not said, and then not judged.
	Takeover time.Duration `yaml:"takeover,omitempty"`
	TLS      *locks.TLS    `yaml:"tls,omitempty"`
	// Username and Password may name an environment variable: ${REDIS_PASSWORD}.
	Username string         `yaml:"username,omitempty"`
	Password string         `yaml:"password,omitempty"`
	Options  map[string]any `yaml:"options,omitempty"`
}

// Purpose is Kleppmann's distinction between locks that protect data and locks
// that save work.
type Purpose string

// The purposes; correctness is the default, because it is the one that hurts.
const (
	Correctness Purpose = "correctness"
	Efficiency  Purpose = "efficiency"
)

// Resource is what the lock protects.
type Resource struct {
	Kind        string         `yaml:"kind"`
	URL         string         `yaml:"url,omitempty"`
	TokenHeader string         `yaml:"token_header,omitempty"`
	Endpoints   []string       `yaml:"endpoints,omitempty"`
	Username    string         `yaml:"username,omitempty"`
	Password    string         `yaml:"password,omitempty"`
	Options     map[string]any `yaml:"options,omitempty"`
}

// Node is a machine, VM, container or network namespace with an agent.
type Node struct {
	Name  string `yaml:"name"`
	Roles []Role `yaml:"roles"`
	// Via is the command that gives stdio on the node ("ssh", "app-a"); the agent's
	// command is appended. Empty: this machine.
	Via []string `yaml:"via,omitempty"`
	// Agent is the agent's command on the node; default lockaudit-agent.
	Agent []string `yaml:"agent,omitempty"`
	// Process is the lock server on this node. The audit kills it only if the plan
	// names it.
	Process Process `yaml:"process,omitempty"`
	// Restart is the command that starts it again; without it systemd does, or the
	// agent as the server was started before.
	Restart []string `yaml:"restart,omitempty"`
	// Client is the lock client's command on this node, where it is not clients.exec.
	Client []string `yaml:"client,omitempty"`
}

// Role says what lives on a node.
type Role string

// The roles.
const (
	RoleClient   Role = "client"
	RoleLock     Role = "lock"
	RoleResource Role = "resource"
)

// Has reports whether the node has the role.
func (n Node) Has(r Role) bool {
	for _, have := range n.Roles {
		if have == r {
			return true
		}
	}
	return false
}

// Defaults that Parse fills in.
const (
	DefaultTrials   = 3
	DefaultMaxFault = 60 * time.Second
	// DefaultMeasureFor is short: it shows a node that stalls all the time, not the
	// one that stalls once a day.
	DefaultMeasureFor = 5 * time.Second
)

// ClientNodes are the nodes on which lock clients run, in the plan's order.
func (p *Plan) ClientNodes() []Node {
	var out []Node
	for _, n := range p.Nodes {
		if n.Has(RoleClient) {
			out = append(out, n)
		}
	}
	return out
}

// Error is a mistake in a plan file, with its place where that is known.
type Error struct {
	Line, Column int // from 1; 0 if unknown
	Msg          string
	// Hint says what to do about it; may be empty.
	Hint string
}

func (e *Error) Error() string {
	if e.Line > 0 && e.Column == 0 {
		return fmt.Sprintf("line %d: %s", e.Line, e.Msg)
	}
	if e.Line > 0 {
		return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Msg)
	}
	return e.Msg
}

// Selection is which probes to run: the word all, the word passive, or a list.
type Selection struct {
	All     bool
	Passive bool
	Names   []string
}

// UnmarshalYAML reads the word or the list.
func (s *Selection) UnmarshalYAML(unmarshal func(any) error) error {
	var word string
	if err := unmarshal(&word); err == nil {
		switch word {
		case "all":
			*s = Selection{All: true}
		case "passive":
			*s = Selection{Passive: true}
		default:
			*s = Selection{Names: []string{word}}
		}
		return nil
	}
	var names []string
	if err := unmarshal(&names); err != nil {
		return fmt.Errorf("probes is all, passive, or a list of names")
	}
	*s = Selection{Names: names}
	return nil
}
