package checklist

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// edited loads a fixture of the item and changes the events of one probe.
func edited(t *testing.T, fixture, probe string, change func(e *history.Event) (keep bool)) record.Run {
	t.Helper()
	run := load(t, filepath.Join("testdata", "wall_clock_independent", fixture))
	var out []history.Event
	for _, e := range run.Histories[probe] {
		if change(&e) {
			out = append(out, e)
		}
	}
	run.Histories[probe] = out
	return run
}

func TestWallClock(t *testing.T) {
	drop := func(gone func(e history.Event) bool) func(*history.Event) bool {
		return func(e *history.Event) bool { return !gone(*e) }
	}
	believing := true
	for name, c := range map[string]struct {
		run     record.Run
		outcome Outcome
		harm    bool
		summary string
	}{
		"as recorded": {load(t, "testdata/wall_clock_independent/pass"), Pass, false, "jumped ahead, and A's lease went on"},
		"Redis":       {load(t, "testdata/wall_clock_independent/fail"), Fail, true, "B was granted the lock while A held it"},
		"the lease ended early, B never asked": {
			edited(t, "fail", jumpServer, drop(func(e history.Event) bool { return e.Actor == "b" })),
			Fail, true, "ran fast, and B was granted", // by the other probe
		},
		"the servers' clocks were right all the time": {
			edited(t, "pass", jumpServer, func(e *history.Event) bool {
				if e.Clock != nil {
					e.Clock = &history.Clock{Ahead: time.Millisecond, Error: 500 * time.Millisecond}
				}
				return true
			}),
			Inconclusive, false, "do not show that they jumped ahead",
		},
		"the servers do not show their clocks": {
			edited(t, "pass", jumpServer, drop(func(e history.Event) bool { return e.Op == history.OpClock })),
			Pass, false, "jumped ahead, and A's lease went on",
		},
		"a clock was never confirmed": {
			edited(t, "pass", jumpServer, drop(func(e history.Event) bool { return e.Op == history.OpInject && e.Type == history.OK })),
			Inconclusive, false, "never confirmed",
		},
		"B never asked": {
			edited(t, "pass", jumpServer, drop(func(e history.Event) bool { return e.Actor == "b" })),
			Inconclusive, false, "was not seen to be held",
		},
		"A gave up when its clock jumped ahead": {
			edited(t, "pass", jumpHolder, func(e *history.Event) bool {
				if no := false; e.Op == history.OpStatus && e.Type == history.OK {
					e.Holding = &no
				}
				return true
			}),
			Fail, false, "gave up a lease that was running",
		},
		"A believes while its clock is behind": {
			edited(t, "pass", jumpHolder, func(e *history.Event) bool {
				if e.Actor == "a" && e.Op == history.OpLost {
					e.Op, e.Type, e.Holding = history.OpStatus, history.OK, &believing
				}
				return true
			}),
			Fail, false, "because its clock had jumped back",
		},
		"nobody looked at the holder": {
			edited(t, "pass", jumpHolder, func(*history.Event) bool { return false }),
			Inconclusive, false, "needs clock-jump-holder",
		},
		"nobody looked at a drift": {
			edited(t, "pass", clockDrift, func(*history.Event) bool { return false }),
			Pass, false, "needs clock-drift",
		},
	} {
		item, _ := ByID("wall_clock_independent")
		f := judge(item, c.run)
		if f.Outcome != c.outcome || f.Harm != c.harm || !strings.Contains(f.Summary, c.summary) {
			t.Errorf("%s: %s, harm %v: %s; want %s, %q", name, f.Outcome, f.Harm, f.Summary, c.outcome, c.summary)
		}
		if f.Outcome == Pass && len(f.Evidence) == 0 {
			t.Errorf("%s: a pass without evidence", name)
		}
	}
}
