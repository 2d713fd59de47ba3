package agent

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/measure"
)

// LookOptions are what Look needs.
type LookOptions struct {
	// Version is the program's.
	Version  string
	StateDir string
	Limits   Limits
	Faults   []inject.Fault
	Speaks   Range // as in Options
}

// Look answers on stdio what a node is, what can be injected there and what time it
// shows, and is no agent: it takes no lock, heals nothing, changes nothing, and works
// beside a running one. It ends with in, or when nothing more is heard.
func Look(ctx context.Context, in io.Reader, out io.Writer, o LookOptions) error {
	catchBrokenPipe()
	w := newLineWriter(out)
	defer flush(w)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var e ear
	go func() {
		if e.silent(ctx, silence) {
			stop()
		}
	}()
	var busy sync.WaitGroup
	orders(ctx, in, func(ord order) {
		e.hear()
		if ord.Op == opPing {
			_ = w.send(message{Event: eventPong})
			return
		}
		busy.Go(func() { answer(w, ord, o.handle(ctx, ord)) })
	})
	busy.Wait()
	return nil
}

func (o LookOptions) handle(ctx context.Context, ord order) reply {
	switch {
	case ord.Op == opHello:
		h, err := introduce(o.Version, o.StateDir, o.Speaks, ord.Version)
		h.Limits = o.Limits
		return reply{result{Hello: &h}, err}
	case ord.Op == opExamine:
		h := Examine(o.Version, o.StateDir, o.Limits, o.Faults)
		return reply{result: result{Health: &h}}
	case ord.Op == opMeasure && ord.Measure != nil && ord.Measure.Kind == measure.KindClock:
		m, err := measure.Run(ctx, ord.Measure.Kind, ord.Measure.Params)
		return reply{result{Measured: m}, err}
	}
	return reply{err: fmt.Errorf("order %q: whoever only looks takes no such order: %w", ord.Op, inject.ErrRefused)}
}

// Examine asks whoever looks (Look) what doctor says.
func (c *Conn) Examine(ctx context.Context) (Health, error) {
	r, err := c.link.call(ctx, order{Op: opExamine})
	if err != nil || r.Health == nil {
		return Health{}, c.wrap("examine node", err)
	}
	return *r.Health, nil
}
