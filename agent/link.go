package agent

import (
	"context"
	"fmt"
	"io"
	"sync"
)

// link is the ordering end of the protocol: it numbers orders and hands each
// answer to the one who waits for it. The auditor has one to each agent, an
// agent one to its guard.
type link struct {
	w     *lineWriter
	trace *tracer
	ear   ear
	lost  error // what a call returns when the peer is gone

	mu      sync.Mutex
	last    int
	pending map[int]chan message
	ended   error
	done    chan struct{}
}

func newLink(w io.Writer, trace *tracer, lost error) *link {
	return &link{w: newLineWriter(w), trace: trace, lost: lost, pending: map[int]chan message{}, done: make(chan struct{})}
}

// read delivers messages until the peer's output ends; events go to on, in order.
func (l *link) read(r io.Reader, on func(message)) {
	err := readLines(r, func(line []byte) error {
		l.ear.hear()
		m, err := decodeMessage(line)
		if err != nil {
			return err
		}
		l.trace.message(m)
		if m.Event != "" {
			on(m)
			return nil
		}
		l.mu.Lock()
		ch := l.pending[m.ID]
		delete(l.pending, m.ID)
		l.mu.Unlock()
		if ch != nil {
			ch <- m
		}
		return nil
	})
	l.mu.Lock()
	l.ended = l.lost
	if err != nil {
		l.ended = fmt.Errorf("%w: %w", l.lost, err)
	}
	l.mu.Unlock()
	close(l.done)
	if err != nil {
		// The peer must not block on output that nobody understands any more.
		_, _ = io.Copy(io.Discard, r)
	}
}

func (l *link) begin(o order) (int, chan message, error) {
	ch := make(chan message, 1)
	l.mu.Lock()
	l.last++
	o.ID = l.last
	l.pending[o.ID] = ch
	l.mu.Unlock()
	l.trace.order(o)
	if err := l.w.send(o); err != nil {
		l.forget(o.ID)
		return 0, nil, fmt.Errorf("%s: %w: %w", o.Op, l.lost, err)
	}
	return o.ID, ch, nil
}

func (l *link) forget(id int) {
	l.mu.Lock()
	delete(l.pending, id)
	l.mu.Unlock()
}

func (l *link) wait(ctx context.Context, ch chan message) (result, error) {
	var m message
	select {
	case m = <-ch:
	case <-l.done:
		select {
		case m = <-ch: // it came just before the end
		default:
			return result{}, l.ended
		}
	case <-ctx.Done():
		return result{}, ctx.Err()
	}
	switch {
	case m.Error != nil:
		return result{}, m.Error.decode()
	case m.OK == nil:
		return result{}, fmt.Errorf("answer %d: neither ok nor error", m.ID)
	}
	return *m.OK, nil
}

// call sends an order and waits for its answer.
func (l *link) call(ctx context.Context, o order) (result, error) {
	id, ch, err := l.begin(o)
	if err != nil {
		return result{}, err
	}
	r, err := l.wait(ctx, ch)
	if ctx.Err() != nil {
		l.forget(id)
	}
	return r, err
}

// post sends an order that has no answer.
func (l *link) post(o order) {
	l.trace.order(o)
	_ = l.w.send(o) // a lost peer is reported by whoever waits for one
}
