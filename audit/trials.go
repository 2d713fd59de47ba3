package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/probes"
	"github.com/lockaudit/lockaudit/record"
)

// maxRepeats bounds how many trials of one probe are carried out again because the
// machine did not let them show what they should.
const maxRepeats = 2

// hopeless: the next probe could only fail in the same way.
func hopeless(err error) bool {
	for _, reason := range []error{ErrUnreachable, probes.ErrNoClient, probes.ErrTTL, probes.ErrRecord, agent.ErrJournal, agent.ErrLog, agent.ErrHalted} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

// runProbe returns an error only if the audit cannot go on.
func runProbe(ctx context.Context, stage *stage, probe probes.Probe, i int, s Schedule, w *record.Writer, o Options) error {
	trials := s.TrialsOf(probe)
	log, err := w.History(probe.Name)
	if err != nil {
		return err
	}
	result := record.Probe{Name: probe.Name, Status: record.Ran, Trials: trials}
	var failed error
	for number := 1; result.Completed < trials && failed == nil && ctx.Err() == nil; number++ {
		trial := &probes.Trial{Params: s.Params, Number: number, Round: result.Completed + 1, Stage: stage, Log: log}
		trial.Progress = func(step string, until time.Time) {
			o.Progress(probes.Progress{Probe: probe.Name, Trial: trial.Round, Trials: trials, Step: step, Until: until})
		}
		before := stage.agents.losses()
		why, err := runTrial(ctx, probe, trial)
		if ctx.Err() == nil {
			why, err = stage.looked(ctx, before, why, err)
		}
		switch {
		case why != "" && len(result.Repeats) < maxRepeats && ctx.Err() == nil:
			result.Repeats = append(result.Repeats, record.Repeat{Trial: number, Why: why})
			failed = stage.dismiss(ctx)
		case err != nil:
			failed = err
			if !errors.Is(err, probes.ErrSkip) && ctx.Err() == nil {
				failed = errors.Join(err, stage.dismiss(ctx))
			}
		default:
			result.Completed++
		}
	}
	switch {
	case errors.Is(failed, probes.ErrSkip):
		result.Status = record.Skipped
	case failed != nil || result.Completed < trials:
		result.Status = record.Failed
	}
	var fatal error
	if failed != nil {
		result.Err = failed.Error()
		if hopeless(failed) {
			fatal = fmt.Errorf("%s: %w", probe.Name, failed)
		}
	}
	return errors.Join(fatal, log.Close(), w.Update(func(m *record.Manifest) {
		m.Probes[i] = result
		m.Subject.Capabilities = stage.capabilities()
	}))
}

// runTrial carries out one trial. again says why it is worth repeating: not because
// of what it found, but because the machine did not let it look.
func runTrial(ctx context.Context, probe probes.Probe, trial *probes.Trial) (again string, err error) {
	ended := watchStalls()
	err = probe.Run(ctx, trial)
	stall := ended()
	if time.Duration(stall.Max) >= stallLimit(trial.TTL) {
		again = fmt.Sprintf("the auditor itself did not run for %s", time.Duration(stall.Max).Round(time.Millisecond))
		err = errors.Join(err, trial.Stalled(stall))
	}
	switch {
	case hopeless(err), errors.Is(err, probes.ErrSkip), probe.Passive:
		return "", err
	case again == "" && errors.Is(err, probes.ErrPremise):
		again = err.Error()
	}
	return again, err
}

// looked is what becomes of a trial in which a connection was lost: its faults ended then,
// whatever it saw, so that it is worth repeating; but only once somebody has looked at
// that node again.
func (s *stage) looked(ctx context.Context, before []made, why string, err error) (string, error) {
	lost := s.agents.lostSince(before, err)
	if len(lost) == 0 {
		return why, err
	}
	why = fmt.Sprintf("the connection to the agent on %s was lost", strings.Join(lost, ", "))
	if err := s.agents.regain(ctx, lost); err != nil {
		return "", fmt.Errorf("%s: %w", why, err)
	}
	return why, errors.New(why)
}

// dismiss ends the lock clients: what a trial has left them holding must not be the
// next one's, and ends with its lease, or with the client where there is none.
func (s *stage) dismiss(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endClients(ctx)
}
