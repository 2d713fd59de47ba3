package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/agent/trail"
	"github.com/lockaudit/lockaudit/inject"
)

// node carries out the commands that act on this node without an auditor.
type node struct {
	dir    string
	limits agent.Limits
	speaks agent.Range
	faults []inject.Fault
	in     *os.File
	out    io.Writer
	log    io.Writer
}

// takesFlags reports whether a command has flags of its own behind it.
func takesFlags(name string) bool {
	switch name {
	case "heal", "halt", "resume", "log", "doctor", "version":
		return true
	}
	return false
}

func (n node) command(ctx context.Context, name string, args []string) int {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	format := fs.String("f", "text", "")
	var reason string
	var verify bool
	var newest int
	switch name {
	case "halt":
		fs.StringVar(&reason, "reason", "", "")
	case "log":
		fs.BoolVar(&verify, "verify", false, "")
		fs.IntVar(&newest, "n", 0, "")
	}
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(n.out, usage)
		return 0
	}
	if err != nil || fs.NArg() > 0 || *format != "text" && *format != "json" || newest < 0 {
		fmt.Fprint(n.log, usage)
		return 64
	}
	asJSON := *format == "json"
	switch name {
	case "heal":
		return n.heal(ctx, asJSON)
	case "halt":
		return n.halt(ctx, reason, asJSON)
	case "resume":
		return n.resume(asJSON)
	case "log":
		return n.showLog(verify, newest, asJSON)
	case "look":
		return n.look(ctx)
	case "version":
		return n.version(asJSON)
	}
	return n.doctor(asJSON)
}

func (n node) heal(ctx context.Context, asJSON bool) int {
	done, err := agent.Heal(ctx, n.dir, n.faults)
	if asJSON {
		_ = json.NewEncoder(n.out).Encode(struct {
			Reverted []agent.Recovered `json:"reverted"`
		}{done})
		return fail(n.log, err)
	}
	for _, r := range done {
		fmt.Fprintf(n.out, "%s  %s  %s: %s\n", r.ID, r.Kind, r.Outcome, r.Effect.Seen+r.Err)
	}
	if len(done) == 0 && err == nil {
		fmt.Fprintln(n.out, "nothing to heal in "+n.dir)
	}
	return fail(n.log, err)
}

// maxReason bounds the words that stdin gives.
const maxReason = 1000

func (n node) halt(ctx context.Context, reason string, asJSON bool) int {
	if reason == "-" {
		b, err := io.ReadAll(io.LimitReader(n.in, maxReason))
		if err != nil {
			return fail(n.log, fmt.Errorf("read reason: %w", err))
		}
		reason = strings.TrimSpace(string(b))
	}
	h, err := agent.HaltNode(ctx, n.dir, reason, n.faults)
	if asJSON {
		_ = json.NewEncoder(n.out).Encode(h) // a closed stdout does not undo a halt
	} else {
		printHalting(n.out, h, err)
	}
	if h.LogErr != "" {
		fmt.Fprintln(n.log, "lockaudit-agent: the halt is in force and could not be logged:", h.LogErr)
	}
	return fail(n.log, err)
}

// printHalting says what a halt did.
func printHalting(w io.Writer, h agent.Halting, err error) {
	for _, p := range h.Killed {
		fmt.Fprintf(w, "agent process %d did not revert and was killed\n", p.PID)
	}
	for _, r := range h.Reverted {
		fmt.Fprintf(w, "%s  %s  %s: %s\n", r.ID, r.Kind, r.Outcome, r.Effect.Seen+r.Err)
	}
	if err != nil {
		return
	}
	if h.Already {
		fmt.Fprintf(w, "was %s\n", h.Halt)
	} else {
		fmt.Fprintln(w, h.Halt)
	}
	fmt.Fprintln(w, "nothing is in effect, and nothing can be injected until lockaudit resume")
}

func (n node) resume(asJSON bool) int {
	was, logErr, err := agent.ResumeNode(n.dir)
	switch {
	case asJSON && err == nil:
		_ = json.NewEncoder(n.out).Encode(struct {
			Was *agent.Halt `json:"was"`
		}{was})
	case err == nil && was == nil:
		fmt.Fprintln(n.out, "was not halted")
	case err == nil:
		fmt.Fprintf(n.out, "resumed; it was %s\n", was)
	}
	if logErr != "" {
		fmt.Fprintln(n.log, "lockaudit-agent: the halt is over and could not be logged:", logErr)
	}
	return fail(n.log, err)
}

func (n node) doctor(asJSON bool) int {
	limits, err := agent.LimitsFromEnv()
	if err != nil {
		return fail(n.log, err)
	}
	h := agent.Examine(version, n.dir, limits.Tighten(n.limits), n.faults)
	if asJSON {
		return fail(n.log, json.NewEncoder(n.out).Encode(h))
	}
	fmt.Fprintf(n.out, "%s: kernel %s %s, uid %d %s, agent %s\nstate %s, log %s, faults of at most %v, %d at once\n",
		h.Hostname, h.Kernel, h.Arch, h.UID, strings.Join(h.Capabilities, " "), h.AgentVersion, h.StateDir, h.LogDir, h.Limits.For, h.Limits.Faults)
	for _, k := range h.Kinds {
		fmt.Fprintf(n.out, "  %-10s %-15s %s\n", k.Kind, k.Answer, k.Why)
	}
	for _, p := range h.Problems {
		fmt.Fprintln(n.out, "problem:", p)
	}
	if h.LeftBehind() {
		return 4
	}
	return 0
}

// showLog prints the log, or checks it.
func (n node) showLog(verify bool, newest int, asJSON bool) int {
	var list []trail.Record
	chain, err := trail.Read(agent.LogDir(n.dir), func(r trail.Record) {
		if verify {
			return
		}
		if list = append(list, r); newest > 0 && len(list) > newest {
			list = list[1:]
		}
	})
	if err != nil {
		return fail(n.log, err)
	}
	enc := json.NewEncoder(n.out)
	for _, r := range list {
		if asJSON {
			err = errors.Join(err, enc.Encode(struct {
				trail.Record
				Sum string `json:"sum"`
			}{r, r.Sum}))
		} else {
			fmt.Fprintln(n.out, r)
		}
	}
	switch {
	case verify && asJSON:
		err = errors.Join(err, enc.Encode(chain))
	case verify:
		fmt.Fprintln(n.out, chain)
	}
	if err == nil && chain.Broken != nil {
		fmt.Fprintf(n.log, "lockaudit-agent: verify log in %s: %s\n", chain.Dir, chain.Broken)
		fmt.Fprintln(n.log, "hint: records up to there are as they were written; compare the rest with the run directories of the audits")
		return 1
	}
	return fail(n.log, err)
}
