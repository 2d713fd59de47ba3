package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/clients/check"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/probes"
	"github.com/spf13/cobra"
)

// checkFlags are the flags of client check.
type checkFlags struct {
	locks  []string
	ttl    time.Duration
	prefix string
	env    []string
	log    string
	json   bool
}

func clientCheckCommand() *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use:   "check URL|PLAN [-- COMMAND [ARG…]]",
		Short: "Say what a lock client of your own does right and wrong",
		Long: `Starts the client on this machine, as you, several times, and speaks the client
protocol to it (docs/clients.md) against a lock service that answers: the one behind
URL (redis://HOST:PORT, etcd://HOST:PORT), or that of a plan, whose clients.exec is
then the default command. Some checks lose the service's replies on their way, and
some want a write to a small HTTP resource of the battery's own.

It takes locks under new keys of its own below --prefix and writes nothing else.
What a client is killed with ends with its lease, of a minute at most.

Exit status:
  0   every check that could be carried out is right
  1   at least one is wrong
  3   the command cannot be started, or the plan cannot be read
  64  the command line is wrong`,
		Example: `  lockaudit client check redis://127.0.0.1:6379 -- python3 client.py
  lockaudit client check plan.yaml
  lockaudit client check plan.yaml --json -- ./my-client --verbose | jq .`,
		Args: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); dash > 1 || dash < 0 && len(args) != 1 || dash == 0 || len(args) == 0 {
				return exit{exitUsage, hinted{errors.New("check needs a URL or a PLAN, and the client's command behind --"), "for example: lockaudit client check redis://127.0.0.1:6379 -- python3 client.py"}}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return runClientCheck(cmd, args[0], args[1:], f) },
	}
	flags := cmd.Flags()
	bindLocks(cmd, &f.locks)
	flags.DurationVar(&f.ttl, "ttl", 0, "lease that is asked for; the plan's, or 2s")
	flags.StringVar(&f.prefix, "prefix", "/lockaudit-check", "what the keys begin with")
	flags.StringArrayVar(&f.env, "env", nil, "NAME=VALUE for the client; repeatable")
	flags.StringVar(&f.log, "log", "", "keep what the client writes to stderr in this file")
	flags.BoolVar(&f.json, "json", false, "print the result as JSON")
	return cmd
}

func runClientCheck(cmd *cobra.Command, where string, argv []string, f checkFlags) (err error) {
	o := check.Options{Argv: argv, Env: f.env}
	if o.Target, err = f.target(where, &o); err != nil {
		return err
	}
	if len(o.Argv) == 0 {
		return exit{exitUsage, hinted{errors.New("no client to check"), "give its command behind --, or name it in the plan: clients: {exec: [python3, /opt/client.py]}"}}
	}
	log, err := f.openLog()
	if err != nil {
		return couldNotRun(fmt.Errorf("open log: %w", err))
	}
	defer log.Close()
	o.Log = log
	live := newProgress(cmd.ErrOrStderr())
	o.Progress = func(name string) { live.update(probes.Progress{Probe: "client check", Step: name}) }
	report, err := check.Run(cmd.Context(), o)
	live.stop()
	if errors.Is(err, check.ErrStart) {
		err = hinted{err, "it is started here as it stands behind --; give its whole path, and the interpreter first: python3 /opt/client.py"}
	}
	if err != nil {
		return couldNotRun(err)
	}
	if err := printCheck(cmd.OutOrStdout(), o, report, f); err != nil {
		return couldNotRun(err)
	}
	wrong := report.Count(check.Wrong) > 0
	f.closeLog(cmd.ErrOrStderr(), log, wrong)
	if wrong {
		return exit{status: exitFail}
	}
	return nil
}

// target is the lock service of a URL or of a plan.
func (f checkFlags) target(where string, o *check.Options) (locks.Target, error) {
	var t locks.Target
	if strings.Contains(where, "://") {
		src, err := parseSource(where)
		if err != nil {
			return t, err
		}
		src.password(defaultPasswordVar)
		t, t.TTL = src.target, 2*time.Second
	} else {
		p, err := loadOne(where, f.locks)
		if err != nil {
			return t, couldNotRun(err)
		}
		if t, err = p.LockTarget(""); err != nil {
			return t, couldNotRun(err)
		}
		if len(o.Argv) == 0 {
			o.Argv = p.Clients.Exec
		}
	}
	if f.ttl != 0 {
		t.TTL = f.ttl
	}
	if t.TTL < time.Millisecond || t.TTL > time.Minute {
		return t, exit{exitUsage, hinted{fmt.Errorf("a lease of %s is too long or too short to be waited for", t.TTL), "--ttl 2s, for example: 1ms to 1m"}}
	}
	t.Key = f.prefix
	return t, nil
}

func (f checkFlags) openLog() (*os.File, error) {
	if f.log != "" {
		return os.OpenFile(f.log, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	}
	return os.CreateTemp("", "lockaudit-client-*.log")
}

// closeLog shows the end of the client's own log where something is wrong, and removes it
// unless it was asked for.
func (f checkFlags) closeLog(stderr io.Writer, log *os.File, wrong bool) {
	if data, err := os.ReadFile(log.Name()); err == nil && wrong && len(data) > 0 {
		lines := strings.Split(strings.TrimSpace(string(data)), "\n")
		fmt.Fprintln(stderr, "its log ends with:")
		for _, line := range lines[max(0, len(lines)-8):] {
			fmt.Fprintln(stderr, "  "+line)
		}
	}
	if f.log == "" {
		_ = os.Remove(log.Name())
	}
}

func printCheck(w io.Writer, o check.Options, r check.Report, f checkFlags) error {
	if f.json {
		out := json.NewEncoder(w)
		out.SetIndent("", "  ")
		return out.Encode(r)
	}
	fmt.Fprintf(w, "%s against %s %s, lease %s\n\n", strings.Join(o.Argv, " "), o.Target.Backend, strings.Join(o.Target.Endpoints, ", "), o.Target.TTL)
	mark := map[check.Outcome]string{check.Right: "right", check.Wrong: "WRONG", check.Unshown: "not tested"}
	for _, x := range r.Results {
		fmt.Fprintf(w, "  %-10s  %s\n", mark[x.Outcome], x.Check)
		if x.Words != "" {
			fmt.Fprintf(w, "              %s\n", x.Words)
		}
		if x.Fix != "" {
			fmt.Fprintf(w, "              → %s\n", x.Fix)
		}
	}
	fmt.Fprintf(w, "\n%d right, %d wrong, %d not tested\n", r.Count(check.Right), r.Count(check.Wrong), r.Count(check.Unshown))
	if len(r.Results) > 1 {
		_, err := fmt.Fprint(w, promises(r))
		return err
	}
	return nil
}

// promises says what an audit will miss of what the client does not promise.
func promises(r check.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%q promises %s.\n", r.Client, wordsOr(r.Capabilities, "nothing"))
	for _, m := range []struct {
		word locks.Capability
		loss string
	}{
		{locks.Fencing, "its tokens have no order: no resource can refuse the writes of a stale holder by them"},
		{locks.OwnerCheck, "an ok release proves nothing about who held the lock"},
		{locks.Observe, "the end of a lease is only seen by another client's acquire"},
		{locks.ObserveLoss, "it does not find out by itself that its hold is over"},
		{locks.Inspect, "the audit cannot read the deployment through it: name clients.observer in the plan"},
	} {
		if !slices.Contains(r.Capabilities, m.word) {
			fmt.Fprintf(&b, "  without %s: %s\n", m.word, m.loss)
		}
	}
	return b.String()
}

func wordsOr(list []locks.Capability, none string) string {
	if len(list) == 0 {
		return none
	}
	var out []string
	for _, c := range list {
		out = append(out, string(c))
	}
	return strings.Join(out, ", ")
}
