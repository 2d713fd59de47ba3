package pause

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/inject"
)

// stutter stops and resumes again and again, as a process does that is throttled,
// swapped or collects garbage all the time.
type stutter struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	stops int
	err   error // why it ended before it was told to
}

// startStutter takes over a grip that is stopped at this moment.
func startStutter(g grip, p Params) *stutter {
	ctx, cancel := context.WithCancel(context.Background())
	s := &stutter{cancel: cancel, done: make(chan struct{}), stops: 1}
	go func() {
		defer close(s.done)
		if err := s.run(ctx, g, p); err != nil && ctx.Err() == nil {
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
		}
	}()
	return s
}

// run keeps to absolute times, so that the time that a stop itself takes does not
// stretch the period.
func (s *stutter) run(ctx context.Context, g grip, p Params) error {
	for start := inject.Now(); ; {
		if !until(ctx, start+p.still()) {
			return nil
		}
		if _, err := g.resume(ctx); err != nil {
			return err
		}
		start = max(start+p.Period, inject.Now()+shortest) // a late one is not made up for
		if !until(ctx, start) {
			return nil
		}
		if _, err := stopOnce(ctx, g); err != nil {
			return err
		}
		s.mu.Lock()
		s.stops++
		s.mu.Unlock()
	}
}

// until waits until an instant of inject.Now; false if ctx ended before.
func until(ctx context.Context, at time.Duration) bool {
	t := time.NewTimer(at - inject.Now())
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// end stops the stuttering, in whichever half it is, and says what it did.
func (s *stutter) end() string {
	s.cancel()
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err == nil:
		return fmt.Sprintf("stopped %d times; ", s.stops)
	case errors.Is(s.err, inject.ErrGone):
		return fmt.Sprintf("stopped %d times, then the target was gone; ", s.stops)
	}
	return fmt.Sprintf("stopped %d times, then no more: %v; ", s.stops, s.err)
}
