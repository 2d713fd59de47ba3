// Command lockaudit-agent is the node agent of lockaudit and its guard.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/inject/all"

	"golang.org/x/sys/unix"
)

// version is set by the linker.
var version = "dev"

// protocol is what it speaks of the order protocol, as MIN-MAX; only a test that needs
// an older or a newer agent has the linker set it.
var protocol = ""

const usage = `Usage: lockaudit-agent [flags] [connect | heal | halt | resume | log | doctor | look | list | version]

The node agent of lockaudit. Without an argument it takes orders, one JSON
object a line, on stdin, and answers on stdout. At the end of its input it
reverts every fault and exits. People do not start it: lockaudit does, by
whatever command gives it a node's stdio.

  (no via)                                    this machine
  via: [ssh, node, sudo]                      another one
  via: [ssh, node, sudo]                      another one, where systemd runs it
  agent: [lockaudit-agent, connect]           (docs/systemd.md)

It does the same when it has heard nothing from lockaudit for 15 s.

Flags:
  --allow-commands    orders may name commands that run with this agent's rights:
                      hooks, and the restart command of a crashed server. Without
                      it, who may run this agent can disturb processes and
                      networks, and run nothing of their own as its user
  --allow-node-clock  orders may disturb the clock of this machine, which
                      everything on it sees
  --max-for 60s       no fault on this node lasts longer, whatever a plan says
                      (default 1h)
  --max-faults 4      no more are in effect at once (default 1024)

Commands:
  connect   join stdio to the agent that systemd starts behind its socket
  heal      revert whatever an agent left on this node, and say what was seen
            afterwards; needs nothing but the state directory
  halt      revert everything that is in effect, also that of a running agent, and
            let nothing be injected until resume; --reason WORDS says why, and
            --reason - reads them from stdin
  resume    take the halt away
  log       show who ordered what on this node, when, and how it went; --verify
            checks that no record was changed, and -n 20 shows the newest 20
  doctor    look only: what can be injected here, is the node halted, was
            something left behind?
  look      answer on stdio, as an agent does, what doctor says and what time it is
            here, and be none: lockaudit nodes asks it
  list      show the faults in this node's journal
  version   print the version; -f json adds the protocol's, the architecture and
            this program's SHA-256

-f json behind heal, halt, resume, log, doctor and version prints JSON.

Environment:
  LOCKAUDIT_LOG     the directory of the log; else /var/log/lockaudit-agent for
                    root, and log beside the state for anybody else
  LOCKAUDIT_MAX_FOR, LOCKAUDIT_MAX_FAULTS
                    as the flags; the stricter of both holds
  LOCKAUDIT_STATE   the state directory; else /run/lockaudit-agent for root
                    and lockaudit-agent in $XDG_RUNTIME_DIR, or else in
                    ~/.local/state, for anybody else
  LOCKAUDIT_SOCKET  the socket of connect; else /run/lockaudit-agent.sock

Examples:
  sudo lockaudit-agent heal
  sudo lockaudit-agent halt --reason "shop is down"
  sudo lockaudit-agent log --verify
  LOCKAUDIT_STATE=/run/lab/a lockaudit-agent list

Exit status:
  0   nothing remains in effect
  1   log --verify: a record is not what was written
  3   it could not run
  4   a fault may remain; what and where is on stderr
  64  wrong usage
`

func main() {
	if status, was := all.StandIn(); was {
		os.Exit(status)
	}
	// It is at rest most of the time: give memory back rather than hold it.
	debug.SetGCPercent(50)
	debug.SetMemoryLimit(64 << 20)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, in *os.File, out, log io.Writer) int {
	fs := flag.NewFlagSet("lockaudit-agent", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	var o all.Options
	fs.BoolVar(&o.Commands, "allow-commands", false, "")
	fs.BoolVar(&o.NodeClock, "allow-node-clock", false, "")
	var limits agent.Limits
	fs.DurationVar(&limits.For, "max-for", 0, "")
	fs.IntVar(&limits.Faults, "max-faults", 0, "")
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp), err == nil && slices.Contains([]string{"-h", "-help", "--help"}, fs.Arg(1)):
		fmt.Fprint(out, usage)
		return 0
	case err != nil || limits.For < 0 || limits.Faults < 0 || fs.NArg() > 1 && !takesFlags(fs.Arg(0)):
		fmt.Fprint(log, usage)
		return 64
	}
	dir, err := agent.StateDir()
	if err != nil {
		return fail(log, err)
	}
	speaks, err := agent.ParseRange(protocol)
	if err != nil {
		return fail(log, err)
	}
	switch fs.Arg(0) {
	case "":
		if terminal(in) {
			fmt.Fprintln(log, "lockaudit-agent: waiting for orders on stdin; ctrl-D ends it, --help says more")
		}
		return fail(log, serve(ctx, in, out, agent.Options{Version: version, StateDir: dir, Guard: guardCommand(o), Limits: limits, Speaks: speaks}))
	case "connect":
		return fail(log, connect(ctx, socket(), in, out))
	case "guard":
		return fail(log, agent.Guard(ctx, in, out, agent.GuardOptions{StateDir: dir, Faults: all.Faults(o)}))
	case "heal", "halt", "resume", "log", "doctor", "look", "version":
		if os.Getenv("SERVICE_RESULT") != "" {
			out = log // as ExecStopPost, with the agent's stdout, which takes answers only
		}
		n := node{dir: dir, limits: limits, speaks: speaks, faults: all.Faults(o), in: in, out: out, log: log}
		return n.command(ctx, fs.Arg(0), fs.Args()[1:])
	case "list":
		plans, err := agent.Journaled(dir)
		for _, p := range plans {
			fmt.Fprintf(out, "%s  %s for %v\n", p.ID, p.Spec.Kind, p.Spec.For)
			for _, o := range p.Objects {
				fmt.Fprintln(out, "    "+o)
			}
		}
		return fail(log, err)
	}
	fmt.Fprintf(log, "lockaudit-agent: unknown command %q\n\n%s", fs.Arg(0), usage)
	return 64
}

// guardCommand is this program as a guard.
func guardCommand(o all.Options) []string {
	argv := []string{"/proc/self/exe"}
	if o.Commands {
		argv = append(argv, "--allow-commands")
	}
	if o.NodeClock {
		argv = append(argv, "--allow-node-clock")
	}
	return append(argv, "guard")
}

// fail prints an error, if there is one, and returns the exit status.
func fail(log io.Writer, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(log, "lockaudit-agent:", err)
	switch {
	case errors.Is(err, agent.ErrRevertFailed):
		fmt.Fprintln(log, "hint: a fault may remain; run lockaudit-agent heal")
		return 4
	case errors.Is(err, agent.ErrBusy):
		fmt.Fprintln(log, "hint: end that agent, which reverts its faults, or run lockaudit-agent halt, which has it revert and inject nothing more")
	}
	return 3
}

func terminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
