package probes

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// measurePauses watches the client nodes, all at once, for gaps in which nothing ran
// there, and where the plan names the application's process or metrics, for what stops
// that process alone: its runtime, and its control group's CPU quota.
func measurePauses() Probe {
	return Probe{
		Name:    "measure-pauses",
		About:   "how long threads of each client node did not run: scheduler, CPU quota, pressure; and the application's own runtime",
		Passive: true,
		Explain: func(p Params) []string {
			out := []string{fmt.Sprintf("a thread on each client node wakes every millisecond for %s and notes how late it was", p.MeasureFor)}
			if p.Process != "" {
				out = append(out, fmt.Sprintf("read the counters of %s there meanwhile: the JVM's hsperfdata, and its control group's cpu.stat", p.Process))
			}
			for _, address := range p.Metrics {
				out = append(out, fmt.Sprintf("read %s once, for what a Go, Java or Node runtime tells of its pauses", redacted(address)))
			}
			return out
		},
		Trial: func(ctx context.Context, t *Trial) error {
			t.step("watch the client nodes for pauses")
			t.Progress("watching for pauses", time.Now().Add(t.MeasureFor))
			limited, cancel := context.WithTimeout(ctx, t.MeasureFor+reachSlack)
			defer cancel()
			var all sync.WaitGroup
			for _, node := range t.clientNodes() {
				all.Go(func() {
					t.measure(node, func() (history.Sample, error) { return t.Stage.Pauses(limited, node, t.MeasureFor) })
				})
				if t.Process != "" {
					all.Go(func() { t.ownStops(limited, node) })
				}
			}
			all.Wait()
			t.runtimeStops(func(url string) (Page, error) { return t.Stage.Metrics(limited, url) })
			return ctx.Err()
		},
	}
}

// ownStops records what stopped the application's process on a node.
func (t *Trial) ownStops(ctx context.Context, node string) {
	e := history.Event{Actor: "agent", Node: node, Op: history.OpMeasure, Type: history.Invoke}
	e.Call = t.record(e).Seq
	all, err := t.Stage.OwnStops(ctx, node, t.MeasureFor)
	if err == nil && len(all) == 0 {
		err = errors.New("the agent tells nothing of it")
	}
	if err != nil {
		e.Type, e.Err = history.Info, err.Error()
		t.record(e)
		return
	}
	t.samples(e, node, all)
}

// reachSlack is for the way to a node that was not reached before.
const reachSlack = 40 * time.Second
