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
	// In the trial in which the servers' clocks jump back: a fixture with something
	// dropped from it or changed.
	behind := func(fixture string, change func(e *history.Event) bool) record.Run {
		return edited(t, fixture, jumpServer, func(e *history.Event) bool { return e.Trial != 2 || change(e) })
	}
	alone := func(run record.Run) record.Run { // without what fails for other reasons
		var back []history.Event
		for _, e := range run.Histories[jumpServer] {
			if e.Trial == 2 {
				back = append(back, e)
			}
		}
		run.Histories = map[string][]history.Event{jumpServer: back}
		return run
	}
	for name, c := range map[string]struct {
		run     record.Run
		outcome Outcome
		harm    bool
		summary string
	}{
		"as recorded":                       {load(t, "testdata/wall_clock_independent/pass"), Pass, false, "jumped ahead, and A's lease went on"},
		"Redis":                             {load(t, "testdata/wall_clock_independent/fail"), Fail, true, "B was granted the lock while A held it"},
		"Redis, and what the jump back did": {load(t, "testdata/wall_clock_independent/fail"), Fail, true, "when the lock servers' clocks had jumped back; it ended when they were put right"},
		"Redis, the jump back alone":        {alone(load(t, "testdata/wall_clock_independent/fail")), Fail, false, "was still running 9.0 s after A was killed"},
		"nobody tried a jump back": {
			behind("pass", func(*history.Event) bool { return false }),
			Inconclusive, false, "jump back was not tried",
		},
		"a jump back that the servers' clocks do not show": {
			behind("pass", func(e *history.Event) bool {
				if e.Clock != nil {
					e.Clock = &history.Clock{Ahead: time.Millisecond, Error: 500 * time.Millisecond}
				}
				return true
			}),
			Inconclusive, false, "do not show that they jumped back",
		},
		"a jump ahead in the place of the jump back": {
			behind("pass", func(e *history.Event) bool {
				if e.Clock != nil {
					e.Clock = &history.Clock{Ahead: e.Clock.Ahead.Abs(), Error: e.Clock.Error}
				}
				return true
			}),
			Inconclusive, false, "do not show that they jumped back",
		},
		"the lease was over before the clocks jumped back": {
			behind("pass", func(e *history.Event) bool {
				if e.Holder != nil {
					e.Holder = &history.Holder{}
				}
				return true
			}),
			Inconclusive, false, "was not seen to run on when the lock servers' clocks had jumped back",
		},
		"B was never refused before the jump back": {
			behind("pass", drop(func(e history.Event) bool { return e.Actor == "b" && e.Type == history.Fail })),
			Inconclusive, false, "B was not refused the lock that A held",
		},
		"nobody killed A under the jump back": {
			behind("pass", drop(func(e history.Event) bool { return e.Op == history.OpKill })),
			Inconclusive, false, "A was not killed",
		},
		"the lease ended, and B did not ask": {
			behind("pass", drop(func(e history.Event) bool { return e.Actor == "b" && e.Grant != nil })),
			Inconclusive, false, "it was not seen whether A's lease ends",
		},
		"the lease went on, and was watched for too short a time": {
			alone(behind("fail", func(e *history.Event) bool {
				if e.At > 9*time.Second {
					e.At -= 5 * time.Second
				}
				return true
			})),
			Inconclusive, false, "it was not seen whether A's lease ends",
		},
		"the lease went on after the clocks were right too": {
			alone(behind("fail", drop(func(e history.Event) bool { return e.Holder != nil && !e.Holder.Held && e.At > 9*time.Second }))),
			Inconclusive, false, "and not when they were right again",
		},
		"the auditor stood still under the jump back": {
			alone(behind("fail", func(e *history.Event) bool {
				if e.Op == history.OpStep && e.Case == "" {
					e.Actor, e.Op, e.Step, e.Sample = "auditor", history.OpStall, "", &history.Sample{Max: int64(2 * time.Second)}
				}
				return true
			})),
			Inconclusive, false, "the auditor itself did not run for 2 s",
		},
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
