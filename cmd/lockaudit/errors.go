package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/audit"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target"
	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/probes"
	"github.com/lockaudit/lockaudit/record"
)

// printError writes one line, and a second one with what to do about it where
// that is known.
func printError(w io.Writer, err error) {
	fmt.Fprintf(w, "lockaudit: %s\n", oneLine(err))
	if hint := hintFor(err); hint != "" {
		fmt.Fprintf(w, "hint: %s\n", hint)
	}
}

// oneLine joins the parts of an error that carries several.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' }), "; ")
}

// hinted is an error with advice.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

func hintFor(err error) string {
	var h hinted
	var p *plan.Error
	var u *audit.Unsafe
	var unknown *audit.UnknownProbe
	switch {
	case errors.As(err, &h):
		return h.hint
	case errors.As(err, &p):
		return p.Hint
	case errors.As(err, &unknown) && unknown.Near != "":
		return fmt.Sprintf("did you mean %q?", unknown.Near)
	case errors.As(err, &unknown):
		return "lockaudit plan PLAN says what each probe does"
	case errors.As(err, &u) && u.Override != "":
		return fmt.Sprintf("lockaudit plan prints what an audit would do; if that is acceptable, add safety: {allow: [%s]} to the plan", u.Override)
	case errors.Is(err, audit.ErrUnsafe):
		return "lockaudit plan prints what an audit would do; leave the probe out, or raise the limit in the plan if that is acceptable"
	case errors.Is(err, agent.ErrHalted):
		return "whoever halted the node had a reason; lockaudit resume ends the halt"
	case errors.Is(err, audit.ErrStopped):
		return "the record up to here is kept; lockaudit judge RUN judges it"
	case errors.Is(err, agent.ErrLog):
		return "lockaudit agent-log --verify looks at that node's log; make room where it is, or set LOCKAUDIT_LOG there"
	case errors.Is(err, probes.ErrRecord):
		return "make room on that disk, or name another directory with --runs"
	case errors.Is(err, probes.ErrTTL):
		return "set lock.ttl to the lease that the service grants; etcd's least is 1.5 times its election timeout, in whole seconds"
	case errors.Is(err, record.ErrNotRun):
		return "a run is a folder that lockaudit audit has made, such as runs/2026-11-23T081201Z-billing"
	case errors.Is(err, record.ErrNewerFormat):
		return "it was made by a newer lockaudit: use that one"
	case errors.Is(err, audit.ErrOwnClient):
		return "lockaudit client check PLAN tries it on this machine; in an audit it runs on the node as nobody, in /, with PATH, HOME, LANG and clients.env alone: give whole paths, readable by everybody"
	case errors.Is(err, probes.ErrNoClient):
		return "check lock.endpoints, tls and the password as seen from that node, and that the client's program is on its PATH or beside the agent"
	case reachHint(err) != "":
		return reachHint(err)
	case errors.Is(err, audit.ErrUnreachable):
		return "lockaudit nodes PLAN tries every node"
	case errors.Is(err, agent.ErrJournal):
		return "make room where the agent's state directory is, or set LOCKAUDIT_STATE on that node"
	case errors.Is(err, agent.ErrBusy):
		return "another audit is at work on that node; wait for it, or find its agent with the pid above"
	case errors.Is(err, agent.ErrRevertFailed):
		return "run lockaudit heal on that node, as the user that the agent runs as"
	case errors.Is(err, inject.ErrProgram):
		return "run that command by hand on the node, and look into its own log"
	case errors.Is(err, inject.ErrUnsupported):
		return "lockaudit doctor says what this machine and these privileges can do"
	case errors.Is(err, target.ErrAmbiguous):
		return "name it by its process id, or by a longer command line or container id"
	case errors.Is(err, target.ErrNone):
		return "look with ps -e, systemctl status or ss -ltnup on that node"
	case errors.Is(err, inject.ErrRefused):
		return "it could be done and must not be, for the reason above; choose another target or other values"
	case errors.Is(err, inject.ErrGone):
		return "check the process id, as this machine's /proc shows it"
	case errors.Is(err, os.ErrNotExist):
		return "check the path"
	case errors.Is(err, audit.ErrInterrupted), errors.Is(err, context.Canceled):
		return "the record up to here is kept; lockaudit judge RUN judges it"
	}
	return ""
}

// usage is a mistake on the command line.
func usage(format string, args ...any) error {
	return exit{exitUsage, fmt.Errorf(format, args...)}
}

// couldNotRun is 3, but for what only the command line can have got wrong.
func couldNotRun(err error) error {
	var unknown *audit.UnknownProbe
	var e exit
	if errors.As(err, &unknown) && unknown.Asked || errors.As(err, &e) && e.status == exitUsage {
		return exit{exitUsage, err}
	}
	return exit{exitCouldNotRun, err}
}
