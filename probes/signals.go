package probes

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

const (
	// signalWindow is how long the sources are watched without and then with
	// refusals. What an application tells later than this is not seen.
	signalWindow = 2 * time.Second
	// signalEvery bounds how exactly the moment of a change is known, and what a
	// look costs the application: both windows are looked at equally often, so that
	// what the looks themselves move is moved in both.
	signalEvery = 250 * time.Millisecond
	// signalList bounds what one window keeps of moves and of lines.
	signalList = 500
)

// source is one place in which a failure to acquire should show.
type source struct {
	name, kind string
	url        string // metrics: with its password, if it has one
	t          *Trial

	series map[string]series // metrics: as they were when the window began
	mark   string            // log: how far it was read
	lines  []history.Line    // log: what it gained in the window
	moved  map[string]time.Duration
	last   map[string]series
	err    error
}

// sources are the ones that the plan names.
func (t *Trial) sources() []*source {
	var out []*source
	for _, address := range t.Metrics {
		out = append(out, &source{name: redacted(address), url: address, kind: history.KindMetrics, t: t})
	}
	if t.LogFile != "" {
		out = append(out, &source{name: t.LogFile, kind: history.KindLog, t: t})
	}
	return out
}

// redacted is an address as it may be printed and kept.
func redacted(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "an address that is no URL" // the plan's validation has refused it
	}
	return u.Redacted()
}

// look reads the source. at is when, counted from the first refusal.
func (s *source) look(ctx context.Context, at time.Duration) {
	if s.err != nil {
		return // a source that failed once has a hole; the window is lost
	}
	ctx, cancel := context.WithTimeout(ctx, agentLimit)
	defer cancel()
	if s.kind == history.KindLog {
		lines, next, err := s.t.Stage.LogSince(ctx, s.mark)
		if s.err = err; err != nil {
			return
		}
		s.mark = next
		for _, l := range lines {
			s.lines = append(s.lines, history.Line{Text: l, Seen: at})
		}
		return
	}
	page, err := s.t.Stage.Metrics(ctx, s.url)
	if err == nil {
		s.last, err = parseMetrics(page)
	}
	if s.err = err; err != nil {
		return
	}
	if s.series == nil {
		s.series = s.last
	}
	for _, m := range moves(s.series, s.last) {
		if _, seen := s.moved[m.Series]; !seen {
			s.moved[m.Series] = at
		}
	}
}

// begin opens a window where the last one ended, so that nothing falls between.
func (s *source) begin() {
	s.series, s.moved, s.lines = s.last, map[string]time.Duration{}, nil
}

// changes is what the window showed.
func (s *source) changes() ([]history.Move, []history.Line, int) {
	found := moves(s.series, s.last)
	for i := range found {
		found[i].Seen = s.moved[found[i].Series]
	}
	more := max(0, len(found)-signalList) + max(0, len(s.lines)-signalList)
	return found[:min(len(found), signalList)], s.lines[:min(len(s.lines), signalList)], more
}

// still are the series that did not change: what stood still while acquires were
// refused is the evidence that nobody could have seen them.
func (s *source) still() []string {
	var out []string
	for name, now := range s.last {
		if was, there := s.series[name]; there && was.value == now.value {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out[:min(len(out), signalList)]
}

// watch looks at the sources for one window while act runs, and records what
// changed. act returns how many acquires were refused, and calls refused at the
// first one.
func (t *Trial) watch(ctx context.Context, sources []*source, phase string, act func(refused func()) int) error {
	began := time.Now()
	var first atomic.Int64 // of the refusals, since began
	first.Store(-1)
	invokes := make([]history.Event, len(sources))
	for i, s := range sources {
		s.begin()
		invokes[i] = t.record(history.Event{Actor: s.kind, Op: history.OpSignal, Type: history.Invoke,
			Signal: &history.Signal{Source: s.name, Kind: s.kind, Phase: phase}})
	}
	acted := make(chan int, 1)
	go func() {
		acted <- act(func() { first.CompareAndSwap(-1, int64(time.Since(began))) })
	}()
	t.Progress(fmt.Sprintf("watching metrics and log (%s)", phase), began.Add(signalWindow))
	err := t.lookUntil(ctx, sources, began, &first)
	refusals := <-acted
	// Once more, so that the window ends after the last refusal also when it was slow.
	for _, s := range sources {
		s.look(ctx, since(began, &first))
	}
	over := time.Since(began)
	for i, s := range sources {
		e := invokes[i]
		e.Type, e.Call, e.Seq, e.At = history.OK, invokes[i].Seq, 0, 0
		signal := *e.Signal
		signal.Over, signal.Refusals = over, refusals
		if s.err != nil {
			e.Type, e.Err = history.Fail, s.err.Error()
		} else {
			signal.Moved, signal.Lines, signal.More = s.changes()
			signal.Still, signal.Series = s.still(), len(s.last)
		}
		e.Signal = &signal
		t.record(e)
	}
	return err
}

func (t *Trial) lookUntil(ctx context.Context, sources []*source, began time.Time, first *atomic.Int64) error {
	tick := time.NewTicker(signalEvery)
	defer tick.Stop()
	for time.Since(began) < signalWindow {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		for _, s := range sources {
			s.look(ctx, since(began, first))
		}
	}
	return nil
}

// since is the time from the first refusal, 0 before it.
func since(began time.Time, first *atomic.Int64) time.Duration {
	at := time.Duration(first.Load())
	if at < 0 {
		return 0
	}
	return time.Since(began) - at
}
