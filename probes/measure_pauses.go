package probes

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// measurePauses watches the client nodes, all at once, for gaps in which nothing
// ran there. A pause of one process, such as its garbage collection, is not seen.
func measurePauses() Probe {
	return Probe{
		Name:    "measure-pauses",
		About:   "how long threads of each client node did not run: scheduler, CPU quota, pressure",
		Passive: true,
		Explain: func(p Params) []string {
			return []string{fmt.Sprintf("a thread on each client node wakes every millisecond for %s and notes how late it was", p.MeasureFor)}
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
			}
			all.Wait()
			return ctx.Err()
		},
	}
}

// reachSlack is for the way to a node that was not reached before.
const reachSlack = 40 * time.Second
