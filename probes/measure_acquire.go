package probes

import (
	"context"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/history"
)

// measureAcquire times acquire and release of the audit's own free key.
func measureAcquire() Probe {
	const rounds = 10
	return Probe{
		Name:  "measure-acquire",
		About: "how long an acquire and a release of a free lock take",
		Explain: func(p Params) []string {
			return []string{fmt.Sprintf("acquire and release %s %d times on %s", p.Key, rounds, p.nodes())}
		},
		// One trial repeats enough.
		Trials: func(Params, int) int { return 1 },
		Trial: func(ctx context.Context, t *Trial) error {
			a, b, err := t.pair(ctx)
			if err != nil {
				return err
			}
			for _, p := range []*party{a, b} {
				t.step("acquire and release on " + p.proc.Node())
				if err := p.timeLock(ctx, rounds); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// timeLock records the distributions of n rounds. The auditor's clock stamps
// them, so they contain the way to the client; a status call, which the client
// answers by itself, shows how long that way is.
func (p *party) timeLock(ctx context.Context, n int) error {
	var acquires, releases, ways []time.Duration
	began := time.Now()
	for range n {
		way := p.proc.Conn().Do(ctx, clients.Request{Op: clients.OpStatus, Key: p.t.Key})
		if way.Type == history.OK {
			ways = append(ways, way.Returned-way.Invoked)
		}
		got := p.tryAcquire(ctx, p.t.fresh())
		if got.Type != history.OK {
			return outcome("client "+p.name+" acquires "+p.t.Key, got)
		}
		gave := p.release(ctx)
		acquires = append(acquires, got.Returned-got.Invoked)
		if gave.Type == history.OK {
			releases = append(releases, gave.Returned-gave.Invoked)
		}
	}
	over := time.Since(began)
	way := history.NewSample("way", ways, over)
	for _, s := range []history.Sample{
		history.NewSample(history.SampleAcquire, acquires, over),
		history.NewSample(history.SampleRelease, releases, over),
	} {
		s.Node, s.Source = p.proc.Node(), "auditor's clock"
		s.Notes = []string{fmt.Sprintf("contains the way between auditor and client: median %s", way.Quantile(0.5).Round(time.Microsecond))}
		e := p.event(history.OpMeasure, history.OK)
		e.Key, e.Sample = p.t.Key, &s
		p.t.record(e)
	}
	return nil
}
