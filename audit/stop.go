package audit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/probes"
)

// ErrStopped: a stop condition of the plan, or somebody who halted a node, ended
// the audit.
var ErrStopped = errors.New("audit was stopped")

// stopEvery is how often the stop conditions are looked at.
const stopEvery = time.Second

// stopper looks at the conditions under which an audit must end.
type stopper struct {
	conditions []plan.StopIf
	http       *http.Client
}

func newStopper(conditions []plan.StopIf) *stopper {
	return &stopper{conditions: conditions, http: &http.Client{
		// A connection of its own each time: what is asked is whether one can be made.
		// No proxy of the environment answers for the deployment.
		Transport: &http.Transport{DisableKeepAlives: true},
	}}
}

// check looks at every condition at once and returns the first, in the plan's
// order, that wants the audit to end.
func (s *stopper) check(ctx context.Context) error {
	errs := make([]error, len(s.conditions))
	var all sync.WaitGroup
	for i, c := range s.conditions {
		all.Go(func() {
			limited, cancel := context.WithTimeout(ctx, c.Timeout)
			defer cancel()
			switch {
			case c.HTTP != "":
				errs[i] = s.get(limited, c)
			case c.Metrics != "":
				errs[i] = s.threshold(limited, c)
			default:
				errs[i] = run(limited, c)
			}
			if errs[i] != nil && ctx.Err() != nil {
				errs[i] = nil // the audit is over; that is no answer
			} else if errors.Is(limited.Err(), context.DeadlineExceeded) && errs[i] != nil {
				errs[i] = fmt.Errorf("no answer within %s", c.Timeout)
			}
			if errs[i] != nil {
				errs[i] = fmt.Errorf("%w by its stop condition %s: %w", ErrStopped, c, errs[i])
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *stopper) get(ctx context.Context, c plan.StopIf) error {
	resp, err := s.ask(ctx, c.HTTP)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("status %s", resp.Status)
	}
	return nil
}

func (s *stopper) ask(ctx context.Context, address string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errors.New("the URL cannot be asked for")
	}
	resp, err := s.http.Do(req)
	if err != nil {
		// Its words repeat the URL, which may hold a password.
		return nil, unwrapped(err)
	}
	return resp, nil
}

// unwrapped is the cause of a failed request, without the URL around it.
func unwrapped(err error) error {
	if cause := errors.Unwrap(err); cause != nil {
		return cause
	}
	return errors.New("the request failed")
}

// run carries out a command on the auditor's machine; it and whatever it started
// ends with its time. What it prints is its own affair.
func run(ctx context.Context, c plan.StopIf) error {
	cmd := exec.CommandContext(ctx, c.Command[0], c.Command[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	return cmd.Run()
}

// watch looks again and again until ctx ends, and calls stop if one fires.
func (s *stopper) watch(ctx context.Context, stop func(error)) {
	if len(s.conditions) == 0 {
		return
	}
	tick := time.NewTicker(stopEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := s.check(ctx); err != nil {
				stop(err)
				return
			}
		}
	}
}

// guarded runs a probe while the plan's stop conditions are looked at: before it,
// and every second as long as it may have a fault in effect.
func guarded(ctx context.Context, stage *stage, probe probes.Probe, run func(context.Context) error) error {
	if probe.Passive {
		return run(ctx)
	}
	if err := stage.stopper.check(ctx); err != nil {
		stage.stop(err)
		return nil
	}
	watched, done := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { stage.stopper.watch(watched, stage.stop) })
	defer watch.Wait()
	defer done()
	return run(ctx)
}
