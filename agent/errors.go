package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target"
	"github.com/lockaudit/lockaudit/measure"
)

// What callers decide on, besides inject.ErrUnsupported, ErrRefused and ErrGone.
var (
	// ErrUnknownFault: no fault with this id was ever in effect here.
	ErrUnknownFault = errors.New("unknown fault")
	// ErrRevertFailed: a fault may remain; the error says which and how to remove it.
	ErrRevertFailed = errors.New("revert not confirmed")
	// ErrClosed: the connection to the agent is gone. Everything it had in effect
	// is being reverted by the agent's end.
	ErrClosed = errors.New("agent connection closed")
	// ErrGuardLost: the guard died during the order; its faults are being undone.
	ErrGuardLost = errors.New("guard lost")
	// ErrJournal: the fault could not be journalled, so it was not injected.
	ErrJournal = errors.New("nothing was injected, the journal cannot be kept")
	// ErrLog: the order could not be logged, so it was not carried out.
	ErrLog = errors.New("nothing was injected, the log of orders cannot be kept")
	// ErrHalted: somebody has halted the node; nothing is injected until a resume.
	ErrHalted = errors.New("node is halted")
	// ErrBusy: another agent owns the state directory.
	ErrBusy = errors.New("state directory is in use by a running agent")
	// ErrVersion: agent and auditor speak no version of the protocol in common.
	ErrVersion = errors.New("no version of the protocol in common")
	// ErrSilent: the auditor was not heard for so long that it counts as lost.
	ErrSilent = errors.New("the auditor has fallen silent")
	// ErrUnknownProc: no client process with this name.
	ErrUnknownProc = errors.New("unknown client process")
)

// failure is an error on the wire: a code for programs, the words for people.
type failure struct {
	Code string `json:"code"`
	Err  string `json:"err"`
	// Fault is the fault that may remain.
	Fault string `json:"fault,omitempty"`
	// Speaks and Agent are what the agent speaks, and its program's version, where it
	// refuses another one.
	Speaks *Range `json:"speaks,omitempty"`
	Agent  string `json:"agent,omitempty"`
}

// remains is an ErrRevertFailed that says of which fault: also an injection that
// failed may have left something behind.
type remains struct {
	id  string
	err error
}

func (e *remains) Error() string {
	return fmt.Sprintf("revert %s: %v: %v", e.id, ErrRevertFailed, e.err)
}
func (e *remains) Unwrap() []error { return []error{ErrRevertFailed, e.err} }

// code pairs a sentinel with its word on the wire. The first match is sent, so
// the more urgent ones come first.
type code struct {
	word string
	err  error
}

func codes() []code {
	return []code{
		{"revert-failed", ErrRevertFailed},
		{"guard-lost", ErrGuardLost},
		{"journal", ErrJournal},
		{"log", ErrLog},
		{"halted", ErrHalted},
		{"version", ErrVersion},
		{"unsupported", inject.ErrUnsupported},
		{"ambiguous", target.ErrAmbiguous},
		{"refused", inject.ErrRefused},
		{"gone", inject.ErrGone},
		{"none", target.ErrNone},
		{"unknown-fault", ErrUnknownFault},
		{"unknown-proc", ErrUnknownProc},
		{"closed", ErrClosed},
		{"busy", ErrBusy},
		{"rotated", measure.ErrRotated},
		{"program", inject.ErrProgram},
		{"deadline", context.DeadlineExceeded},
	}
}

func encodeError(err error) *failure {
	f := &failure{Code: "error", Err: err.Error(), Fault: leftBy(err)}
	var m *mismatch
	if errors.As(err, &m) {
		f.Speaks, f.Agent = &m.speaks, m.agent
	}
	for _, c := range codes() {
		if errors.Is(err, c.err) {
			f.Code = c.word
			break
		}
	}
	return f
}

// leftBy is the fault that may remain; "" if the error tells of none.
func leftBy(err error) string {
	var here *remains
	var there *remote
	switch {
	case errors.As(err, &here):
		return here.id
	case errors.As(err, &there):
		return there.fault
	}
	return ""
}

// remote is an error that came over the wire: its words, and its sentinel for errors.Is.
type remote struct {
	words string
	is    error
	fault string
	// Of an ErrVersion.
	speaks *Range
	agent  string
}

func (e *remote) Error() string { return e.words }
func (e *remote) Unwrap() error { return e.is }

func (f *failure) decode() error {
	for _, c := range codes() {
		if c.word == f.Code {
			return &remote{words: f.Err, is: c.err, fault: f.Fault, speaks: f.Speaks, agent: f.Agent}
		}
	}
	return &remote{words: f.Err}
}
