package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/plan"
	"github.com/spf13/cobra"
)

// pushFlags are the flags of push.
type pushFlags struct {
	binary, to, format string
	agentOnly          bool
	limit              time.Duration
}

func pushCommand() *cobra.Command {
	var f pushFlags
	cmd := &cobra.Command{
		Use:   "push PLAN [NODE…]",
		Short: "Copy the agent to the nodes of a plan, by the way that the plan has to them",
		Long: `Copies the agent that lies beside this program to each node that an audit uses, or to
the ones named, through the node's own via. Client nodes of a plan with the built-in
lock client get lockaudit too, beside the agent.

On the node it runs uname, dd, sha256sum, chmod and mv by the via of the plan, one
after the other, with no shell and no file server. The copy has a name of its own
until its SHA-256 was read there and is right; then it is renamed, at once. Half a
copy never becomes the agent. Another architecture is refused before anything is
copied. In the end the plan's own command is asked which program it runs.

An agent that is at work there keeps the program that it was started with, its
journal and its state; the next one is the new one.

Exit status:
  0   every node has it
  3   a node was not reached, or does not have it; nothing there was replaced
      unless it says so
  64  the command line is wrong`,
		Example: `  lockaudit push plan.yaml
  lockaudit push plan.yaml app-a app-b
  lockaudit push plan.yaml etcd-1 --binary ./lockaudit-agent-arm64 --to /opt/lockaudit-agent`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return exactly(1, "a PLAN, and perhaps nodes")(cmd, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return pushAll(cmd, args[0], args[1:], f) },
	}
	cmd.Flags().StringVar(&f.binary, "binary", "", "the agent to copy (default: the lockaudit-agent beside this program)")
	cmd.Flags().StringVar(&f.to, "to", "", "its path on the node (default: the path in the plan's agent, or "+usualPlace+")")
	cmd.Flags().BoolVar(&f.agentOnly, "agent-only", false, "do not copy lockaudit to the client nodes")
	cmd.Flags().DurationVar(&f.limit, "timeout", 5*time.Minute, "how long each node may take")
	cmd.Flags().StringVarP(&f.format, "format", "f", "text", "text or json")
	return cmd
}

// agentName is the agent's program, and usualPlace where it is put unless the plan knows
// better: sudo and ssh look there on most systems.
const (
	agentName  = "lockaudit-agent"
	usualPlace = "/usr/local/bin/" + agentName
)

func pushAll(cmd *cobra.Command, planPath string, names []string, f pushFlags) error {
	if f.format != "text" && f.format != "json" {
		return usage("--format %q: text or json", f.format)
	}
	if f.limit <= 0 {
		return usage("--timeout %v: more than 0 is needed", f.limit)
	}
	if f.to != "" && !plainPath(f.to) {
		return usage("--to %q: an absolute path of letters, digits and ._+- is needed", f.to)
	}
	p, _, err := plan.Load(planPath)
	if err != nil {
		return couldNotRun(err)
	}
	nodes, err := (&nodeFlags{names: names}).nodes([]string{planPath})
	if err != nil {
		return err
	}
	if f.binary == "" {
		f.binary = ownAgent()
	}
	agent, err := readProgram(f.binary)
	if err != nil {
		return couldNotRun(hinted{err, "make build makes it; --binary names another one"})
	}
	var client *program
	if !f.agentOnly && len(p.Clients.Exec) == 0 {
		self, err := os.Executable()
		if err != nil {
			return couldNotRun(fmt.Errorf("find own program: %w", err))
		}
		if client, err = readProgram(self); err != nil {
			return couldNotRun(err)
		}
	}
	done := make([]pushed, len(nodes))
	var going sync.WaitGroup
	for i, n := range nodes {
		going.Go(func() {
			ctx, cancel := context.WithTimeout(cmd.Context(), f.limit)
			defer cancel()
			done[i] = pushNode(ctx, n, agent, client, f.to)
		})
	}
	going.Wait()
	return printPushed(cmd, done, f.format)
}

// ownAgent is the agent of the same build: beside this program, and only then on PATH.
func ownAgent() string {
	if self, err := os.Executable(); err == nil {
		if beside := path.Join(path.Dir(self), agentName); exists(beside) {
			return beside
		}
	}
	if found, err := exec.LookPath(agentName); err == nil {
		return found
	}
	return agentName
}

// pushed is what became of one node, and a line of the JSON output.
type pushed struct {
	Node  string   `json:"node"`
	Did   []string `json:"did,omitempty"`
	Err   string   `json:"err,omitempty"`
	Hint  string   `json:"hint,omitempty"`
	Build any      `json:"build,omitempty"` // what the plan's command runs now
}

func pushNode(ctx context.Context, n plan.Node, agent, client *program, to string) pushed {
	out := pushed{Node: n.Name}
	c := courier{node: n, say: func(format string, args ...any) { out.Did = append(out.Did, fmt.Sprintf(format, args...)) }}
	err := c.find(to)
	if err == nil {
		err = c.fits(ctx, agent)
	}
	if err == nil {
		err = c.put(ctx, agent, c.to)
	}
	if err == nil && client != nil && n.Has(plan.RoleClient) {
		if err = c.fits(ctx, client); err == nil {
			err = c.put(ctx, client, path.Join(path.Dir(c.to), "lockaudit"))
		}
	}
	if err == nil {
		out.Build, err = c.check(ctx, agent)
	}
	if err != nil {
		out.Err, out.Hint = oneLine(err), hintFor(err)
	}
	return out
}

func printPushed(cmd *cobra.Command, done []pushed, format string) error {
	worst := exitOK
	enc := json.NewEncoder(cmd.OutOrStdout())
	var err error
	for _, d := range done {
		if d.Err != "" {
			worst = exitCouldNotRun
		}
		if format == "json" {
			err = errors.Join(err, enc.Encode(d))
			continue
		}
		for _, line := range d.Did {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", d.Node, line)
		}
		if d.Err != "" {
			printError(cmd.ErrOrStderr(), hinted{fmt.Errorf("push to node %s: %s", d.Node, d.Err), d.Hint})
		}
	}
	if err != nil {
		return couldNotRun(err)
	}
	return finish(worst)
}

// plainPath reports whether a path is absolute and the same to every shell: ssh hands it
// to one.
func plainPath(p string) bool {
	return path.IsAbs(p) && path.Clean(p) == p && !strings.ContainsFunc(p, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || slices.Contains([]rune("._+-/"), r))
	})
}
