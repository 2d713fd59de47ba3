package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/audit"
	"github.com/lockaudit/lockaudit/plan"
)

// courier brings programs to a node. It runs a few programs of the node's own, one after
// the other, by what the plan has in front of the agent: each is a handful of plain words,
// which mean the same whether a shell reads them (ssh) or not (kubectl exec, docker exec,
// nsenter). A script would have to be quoted for the one and not for the other, and a
// shell that reads it from stdin may read the program's bytes too.
type courier struct {
	node  plan.Node
	front []string // what is in front of the agent's program: the way there, and sudo
	to    string   // the agent's path on the node
	say   func(format string, args ...any)
}

// find is where the agent is to lie: where the caller or the plan says, or the usual place.
func (c *courier) find(to string) error {
	argv := audit.AgentCommand(c.node).Argv
	own := argv[len(c.node.Via):]
	i := max(slices.IndexFunc(own, func(w string) bool { return path.Base(w) == agentName }), 0)
	c.front = argv[:len(c.node.Via)+i]
	switch {
	case to != "":
		c.to = to
	case path.IsAbs(own[i]):
		c.to = own[i]
	default:
		c.to = usualPlace
	}
	if !plainPath(c.to) {
		return hinted{fmt.Errorf("the agent's path %q is not plain", c.to), "letters, digits and ._+- mean the same to every shell; --to names another one"}
	}
	return nil
}

// fits refuses a program for another architecture.
func (c *courier) fits(ctx context.Context, p *program) error {
	machine, err := c.run(ctx, nil, "uname", "-m")
	if err != nil {
		return err
	}
	if slices.Contains(p.arches, machine) {
		return nil
	}
	return hinted{
		fmt.Errorf("%s is for %s and the node is %s; nothing was copied", p.path, p.arches[0], machine),
		fmt.Sprintf("build one: CGO_ENABLED=0 GOARCH=%s go build -o %s-%s ./cmd/%s; --binary names it", goArch(machine), agentName, machine, agentName),
	}
}

// put copies a program to a path, whole or not at all.
func (c *courier) put(ctx context.Context, p *program, to string) (err error) {
	size := fmt.Sprintf("%.1f MB, sha256 %s", float64(len(p.data))/1e6, p.sum[:12])
	if there, err := c.sum(ctx, to); err == nil && there == p.sum {
		c.say("%s is there already (%s)", to, size)
		return nil
	}
	var id [4]byte
	rand.Read(id[:]) // never fails: crypto/rand.Read aborts the program instead
	copied := to + ".push-" + hex.EncodeToString(id[:])
	defer func() {
		if err == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if _, rerr := c.run(ctx, nil, "rm", "-f", copied); rerr != nil {
			err = fmt.Errorf("%w; what was copied may remain there as %s, and is used by nobody", err, copied)
		}
	}()
	if _, err := c.run(ctx, p.data, "dd", "of="+copied, "bs=65536", "conv=fsync"); err != nil {
		return err
	}
	there, err := c.sum(ctx, copied)
	switch {
	case err != nil:
		return err
	case there != p.sum:
		return hinted{fmt.Errorf("copy %s: sha256 on the node is %.12s and must be %.12s; nothing was replaced", to, there, p.sum), "is its disk full? try again"}
	}
	if _, err := c.run(ctx, nil, "chmod", "0755", copied); err != nil {
		return err
	}
	if _, err := c.run(ctx, nil, "mv", "-f", copied, to); err != nil {
		return err
	}
	c.say("copied %s to %s (%s, read there)", path.Base(to), to, size)
	return nil
}

func (c *courier) sum(ctx context.Context, file string) (string, error) {
	out, err := c.run(ctx, nil, "sha256sum", file)
	sum, _, _ := strings.Cut(out, " ")
	return strings.TrimPrefix(sum, `\`), err
}

// check asks the command of the plan which program it runs, and whether another one is at
// work there.
func (c *courier) check(ctx context.Context, p *program) (any, error) {
	a := onNode(ctx, c.node, "", []string{"version", "-f", "json"})
	var b agent.Build
	switch err := json.Unmarshal(a.out, &b); {
	case a.failed != nil:
		return nil, hinted{fmt.Errorf("it is there, and the plan's command does not run it: %w", a.failed), c.place()}
	case err != nil || b.SHA256 != p.sum:
		return nil, hinted{fmt.Errorf("it is there, and the plan's command runs another one: %s", strings.TrimSpace(string(a.out)+lastLine(string(a.err)))), c.place()}
	}
	c.say("the plan's command runs it: version %s, protocol %s", b.Version, b.Protocol)
	var h agent.Health
	if a := onNode(ctx, c.node, "", []string{"doctor", "-f", "json"}); a.failed == nil && json.Unmarshal(a.out, &h) == nil && len(h.Agents) > 0 {
		c.say("an agent is at work there (pid %d) and goes on as it was; the next one is the new one", h.Agents[0].PID)
	}
	return b, nil
}

func (c *courier) place() string {
	return fmt.Sprintf("PATH, or sudo's secure_path, leads elsewhere there: write agent: [%s] into the plan", c.to)
}

// run runs one program of the node's and returns the first line that it prints.
func (c *courier) run(ctx context.Context, stdin []byte, argv ...string) (string, error) {
	cmd := agent.Transport(ctx, append(slices.Clone(c.front), argv...))
	var out, log bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &log
	err := cmd.Run()
	line, _, _ := strings.Cut(strings.TrimSpace(out.String()), "\n")
	if err == nil {
		return line, nil
	}
	status := -1
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		status = ended.ExitCode()
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	trouble := agent.Recognise(log.String(), status)
	if errors.Is(err, exec.ErrNotFound) {
		trouble = agent.TroubleCommand
	}
	err = fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	if said := lastLine(log.String()); said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return line, hinted{err, c.hint(trouble)}
}

func (c *courier) hint(t agent.Trouble) string {
	switch t {
	case agent.TroubleMissing:
		return "uname, dd, sha256sum, chmod and mv are needed on the node, and the directory of the agent's path; --to names another one"
	case agent.TroubleExec:
		return "that user may not write there: have the node's via end with sudo, or name a place with --to"
	case agent.TroubleSudo:
		return "sudo permits the agent there, and not what copies it: copy it by other means, once; the agent itself needs no more than before"
	case "":
		return "try it by hand, by the node's via"
	}
	return troubleHint(t, c.node.Name, c.front)
}
