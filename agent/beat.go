package agent

import (
	"context"
	"errors"
	"time"
)

// Pulse is how an agent shows whoever supervises it, systemd's watchdog, that both
// of it are alive: Beat is called when orders are taken, and then at least once in
// Within, as long as the guard answers.
type Pulse struct {
	Within time.Duration // 0: only the first beat
	Beat   func()
}

// pulse beats until ctx ends.
func (s *server) pulse(ctx context.Context) {
	p := s.o.Pulse
	if p.Beat == nil {
		return
	}
	p.Beat()
	if p.Within <= 0 {
		return
	}
	every := p.Within / 4
	for tick := time.NewTicker(every); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
			if s.keeper.alive(ctx, every) {
				p.Beat()
			}
		}
	}
}

// alive asks the guard. While a lost one is being replaced there is none to ask, and
// the agent is at work with a limit of its own; where none can be started any more,
// nobody watches the faults.
func (k *keeper) alive(ctx context.Context, limit time.Duration) bool {
	k.mu.Lock()
	g, broken := k.cur, k.broken
	k.mu.Unlock()
	if g == nil {
		return broken == nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, err := g.link.call(ctx, order{Op: opPing})
	return err == nil || errors.Is(err, ErrGuardLost)
}
