package plan

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Process names the lock server's process on a node, in exactly one way. In a plan
// it is a mapping, or a string, which is its name. Naming it allows the audit to
// kill it.
type Process struct {
	Name      string `yaml:"name,omitempty" json:"name,omitempty"`
	Cmdline   string `yaml:"cmdline,omitempty" json:"cmdline,omitempty"`
	PIDFile   string `yaml:"pid_file,omitempty" json:"pid_file,omitempty"`
	Unit      string `yaml:"unit,omitempty" json:"unit,omitempty"`
	Container string `yaml:"container,omitempty" json:"container,omitempty"`
	Port      int    `yaml:"port,omitempty" json:"port,omitempty"`
	Proto     string `yaml:"proto,omitempty" json:"proto,omitempty"`
}

// UnmarshalYAML reads either form.
func (p *Process) UnmarshalYAML(unmarshal func(any) error) error {
	if err := unmarshal(&p.Name); err == nil {
		return nil
	}
	type mapping Process
	return unmarshal((*mapping)(p))
}

// IsZero reports that the plan names no process.
func (p Process) IsZero() bool { return p == Process{} }

// Selector is the process as an agent is told of it.
func (p Process) Selector() (json.RawMessage, error) { return json.Marshal(p) }

// String says it as people do: unit redis.service.
func (p Process) String() string {
	words := p.ways()
	if len(words) == 0 {
		return "nothing"
	}
	return words[0]
}

func (p Process) ways() []string {
	var out []string
	for _, w := range []struct{ name, value string }{
		{"name", p.Name}, {"cmdline", p.Cmdline}, {"pid_file", p.PIDFile}, {"unit", p.Unit}, {"container", p.Container},
	} {
		if w.value != "" {
			out = append(out, w.name+" "+w.value)
		}
	}
	if p.Port != 0 {
		out = append(out, fmt.Sprintf("port %d", p.Port))
	}
	return out
}

// allowCommands is the agent's flag without which it runs no command of a plan.
const allowCommands = "--allow-commands"

func (n Node) validateProcess() error {
	p := n.Process
	switch ways := p.ways(); {
	case p.IsZero() && len(n.Restart) > 0:
		return &Error{Msg: fmt.Sprintf("node %q has a restart command and no process", n.Name), Hint: "process says what is killed, for example process: {port: 6379}"}
	case p.IsZero():
		return nil
	case len(ways) != 1:
		return &Error{
			Msg:  fmt.Sprintf("node %q names its process in %d ways: %s", n.Name, len(ways), strings.Join(ways, ", ")),
			Hint: "exactly one of name, cmdline, pid_file, unit, container and port",
		}
	case p.Port < 0 || p.Port > 65535:
		return &Error{Msg: fmt.Sprintf("node %q: process.port %d is out of range", n.Name, p.Port)}
	case p.Proto != "" && (p.Port == 0 || p.Proto != "tcp" && p.Proto != "udp"):
		return &Error{Msg: fmt.Sprintf("node %q: process.proto is %q", n.Name, p.Proto), Hint: "tcp or udp, beside port"}
	case !n.Has(RoleLock):
		return &Error{Msg: fmt.Sprintf("node %q names a process and has not the role lock", n.Name), Hint: "it is the lock server that is killed: roles: [lock]"}
	case len(n.Restart) > 0 && !slices.Contains(n.Agent, allowCommands):
		return n.needsFlag("a restart command")
	}
	return nil
}

// needsFlag: an agent that was not told so refuses commands, so the plan must.
func (n Node) needsFlag(what string) error {
	return &Error{
		Msg:  fmt.Sprintf("node %q has %s, and its agent is not started with %s", n.Name, what, allowCommands),
		Hint: fmt.Sprintf("agent: [%s, %s]; it then runs the plan's commands with its own rights", n.Agent[0], allowCommands),
	}
}
