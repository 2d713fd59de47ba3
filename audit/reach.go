package audit

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/probes"
)

// AgentCommand is how the agent of a node is started: the node's via, then the
// agent's own command. On this machine the agent may lie beside the running
// binary instead of on the PATH.
func AgentCommand(n plan.Node) agent.Command {
	argv := append(append([]string{}, n.Via...), n.Agent...)
	if len(n.Via) == 0 {
		argv[0] = Beside(argv[0])
	}
	return agent.Command{Argv: argv}
}

// OnNode is a command of the agent's program on a node: not an agent, and so without what
// would join it to the one that systemd runs.
func OnNode(n plan.Node, args ...string) []string {
	argv := AgentCommand(n).Argv
	if argv[len(argv)-1] == "connect" {
		argv = argv[:len(argv)-1]
	}
	return append(argv, args...)
}

// Beside returns the path of a sibling of the running binary if PATH has no such
// program, and the name itself otherwise.
func Beside(name string) string {
	if filepath.Base(name) != name {
		return name
	}
	if _, err := exec.LookPath(name); err == nil {
		return name
	}
	self, err := os.Executable()
	if err != nil {
		return name
	}
	sibling := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(sibling); err != nil {
		return name
	}
	return sibling
}

// nodes are those on which an audit starts agents.
func (s Schedule) nodes() []string {
	out := []string{s.Params.NodeA}
	add := func(node string) {
		if !slices.Contains(out, node) {
			out = append(out, node)
		}
	}
	add(s.Params.NodeB)
	if slices.ContainsFunc(s.Probes, func(p probes.Probe) bool { return p.OnLockNodes }) {
		for _, node := range s.Params.LockNodes {
			add(node)
		}
	}
	return out
}
