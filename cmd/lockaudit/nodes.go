package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/audit"
	"github.com/lockaudit/lockaudit/plan"
	"github.com/spf13/cobra"
)

// nodeLimit bounds a command on one node: the way there, and a halt that has to wait
// for a server to start again.
const nodeLimit = reachLimit + 150*time.Second

// nodeFlags choose on which nodes a command runs.
type nodeFlags struct{ names []string }

func (f *nodeFlags) bind(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&f.names, "node", nil, "only these nodes of the plan, by name; repeatable")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return exactly(1, "at most one PLAN")(cmd, args)
		}
		if len(args) == 0 && len(f.names) > 0 {
			return usage("--node needs a PLAN that says how the node is reached")
		}
		return nil
	}
}

// nodes are those of the plan that an audit reaches, or the ones that were named;
// without a plan this machine.
func (f *nodeFlags) nodes(args []string) ([]plan.Node, error) {
	if len(args) == 0 {
		return []plan.Node{{Name: "local", Agent: []string{"lockaudit-agent"}}}, nil
	}
	p, _, err := plan.Load(args[0])
	if err != nil {
		return nil, couldNotRun(err)
	}
	var out []plan.Node
	for _, n := range p.Nodes {
		if slices.Contains(f.names, n.Name) || len(f.names) == 0 && (n.Has(plan.RoleClient) || n.Has(plan.RoleLock)) {
			out = append(out, n)
		}
	}
	for _, name := range f.names {
		if !slices.ContainsFunc(p.Nodes, func(n plan.Node) bool { return n.Name == name }) {
			return nil, usage("--node %s: the plan has no such node", name)
		}
	}
	return out, nil
}

// answer is what the agent's command on a node said.
type answer struct {
	node   plan.Node
	out    []byte
	err    []byte
	status int
	failed error // it could not be run, or ended in another way than by exiting
}

// onNodes runs a command of the agent on every node at once, whatever becomes of
// the others, and hands the answers over in the plan's order.
func onNodes(ctx context.Context, nodes []plan.Node, stdin string, args []string, each func(answer)) {
	answers := make([]chan answer, len(nodes))
	var all sync.WaitGroup
	defer all.Wait()
	for i, n := range nodes {
		answers[i] = make(chan answer, 1)
		all.Go(func() { answers[i] <- onNode(ctx, n, stdin, args) })
	}
	for _, a := range answers {
		each(<-a)
	}
}

func onNode(ctx context.Context, n plan.Node, stdin string, args []string) answer {
	ctx, cancel := context.WithTimeout(ctx, nodeLimit)
	defer cancel()
	cmd := agent.Transport(ctx, audit.OnNode(n, args...))
	var out, log bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &log
	err := cmd.Run()
	a := answer{node: n, out: out.Bytes(), err: log.Bytes()}
	var ended *exec.ExitError
	switch {
	case ctx.Err() != nil:
		a.failed = fmt.Errorf("no answer: %w", ctx.Err())
	case errors.As(err, &ended) && ended.ExitCode() >= 0 && knownStatus(ended.ExitCode()):
		a.status = ended.ExitCode()
	case err != nil: // ssh's own 255, a shell's 127, a signal
		a.failed = err
		if last := lastLine(log.String()); last != "" {
			a.failed = fmt.Errorf("%w: %s", err, last)
		}
	}
	return a
}

// knownStatus are the exit statuses of lockaudit-agent.
func knownStatus(s int) bool {
	return slices.Contains([]int{exitOK, exitFail, exitCouldNotRun, exitFaultRemains, exitUsage}, s)
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// print repeats what a node said, each line with its name.
func (a answer) print(stdout, stderr io.Writer) {
	for line := range strings.Lines(string(a.out)) {
		fmt.Fprintf(stdout, "%s: %s\n", a.node.Name, strings.TrimRight(line, "\n"))
	}
	for line := range strings.Lines(string(a.err)) {
		fmt.Fprintf(stderr, "%s: %s\n", a.node.Name, strings.TrimRight(line, "\n"))
	}
}

// finish turns the worst of the nodes' statuses into the command's own.
func finish(worst int) error {
	if worst == exitOK {
		return nil
	}
	return exit{status: worst}
}
