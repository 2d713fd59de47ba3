package checklist

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

const heldSeries = `lock_acquire_total{outcome="held"}`

// withSignals is the fixture in which metrics and log tell, changed.
func withSignals(t *testing.T, change func(e *history.Event, s *history.Signal)) record.Run {
	t.Helper()
	run := load(t, filepath.Join("testdata", "lock_failures_observable", "pass"))
	for i := range run.Histories[contend] {
		e := &run.Histories[contend][i]
		if e.Signal != nil && e.Type == history.OK {
			change(e, e.Signal)
		}
	}
	return run
}

func refusedMetrics(s *history.Signal) bool {
	return s.Kind == history.KindMetrics && s.Phase == history.PhaseRefused
}

func dropHeld(s *history.Signal) {
	if refusedMetrics(s) {
		s.Moved = s.Moved[:1] // the runtime's own
	}
}

func dropLine(s *history.Signal) {
	if s.Kind == history.KindLog && s.Phase == history.PhaseRefused {
		s.Lines = s.Lines[:1] // the renewal's
	}
}

func rename(series string, grew float64) func(*history.Event, *history.Signal) {
	return func(_ *history.Event, s *history.Signal) {
		dropLine(s)
		if refusedMetrics(s) {
			s.Moved[1].Series, s.Moved[1].After = series, s.Moved[1].Before+grew
		}
	}
}

func TestSignals(t *testing.T) {
	nothing := func(*history.Event, *history.Signal) {}
	silent := func(_ *history.Event, s *history.Signal) { dropHeld(s); dropLine(s) }
	tests := []struct {
		name    string
		change  func(*history.Event, *history.Signal)
		builtin bool
		want    Outcome
		words   string
	}{
		{"both tell", nothing, false, Pass, heldSeries + " 4 → 8, 246 ms after the first of 4 refusals"},
		{"both tell of the built-in client", nothing, true, Pass, "outcome=held"},
		{"neither tells", silent, false, Fail, "the metrics told nothing of 8 refused acquires; the log told nothing"},
		{"neither tells of the built-in client", silent, true, Inconclusive, "clients.exec"},
		{"only the metrics tell", func(_ *history.Event, s *history.Signal) { dropLine(s) }, false, Warn, "the log told nothing"},
		{"only the log tells", func(_ *history.Event, s *history.Signal) { dropHeld(s) }, false, Warn, "the metrics told nothing"},
		{"told in one trial of two", func(e *history.Event, s *history.Signal) {
			if e.Trial == 2 {
				silent(e, s)
			}
		}, false, Fail, "told nothing"},
		{"moves without refusals too, in another trial", func(e *history.Event, s *history.Signal) {
			dropLine(s)
			if e.Trial == 2 && s.Kind == history.KindMetrics && s.Phase == history.PhaseQuiet {
				s.Moved = append(s.Moved, history.Move{Series: heldSeries, Type: "counter", Before: 4, After: 5})
			}
		}, false, Fail, "told nothing"},
		{"line like one without refusals", func(_ *history.Event, s *history.Signal) {
			dropHeld(s)
			if s.Kind == history.KindLog && s.Phase == history.PhaseQuiet {
				s.Lines = append(s.Lines, history.Line{Text: "time=2026-11-25T09:00:00Z level=WARN msg=\"lock not acquired\" key=lockaudit/canary-4f1c outcome=held"})
			}
		}, false, Fail, "told nothing"},
		{"line about something else", func(_ *history.Event, s *history.Signal) {
			dropHeld(s)
			if s.Kind == history.KindLog && s.Phase == history.PhaseRefused {
				s.Lines[1].Text = "cache is full"
			}
		}, false, Inconclusive, "changed each time"},
		{"a counter of everything that the service does", rename(`server_requests_total{type="LeaseGrant"}`, 2), false, Inconclusive, "neither its name nor the amount"},
		{"name of the job, right amount", rename("jobs_skipped_total", 4), false, Warn, "jobs_skipped_total"},
		{"name of the job, wrong amount", rename("jobs_skipped_total", 1), false, Inconclusive, "changed each time"},
		{"name of lock and failure, any amount", rename("shedlockLockNotAcquired", 1), false, Warn, "shedlockLockNotAcquired"},
		{"clock and block are no lock", rename("clock_blocks_total", 3), false, Inconclusive, "changed each time"},
		{"counter that went back", rename("lock_failed_total", -4), false, Inconclusive, "changed each time"},
		{"metrics endpoint down", func(e *history.Event, s *history.Signal) {
			if refusedMetrics(s) {
				e.Type, e.Err = history.Fail, "connection refused"
			}
		}, false, Inconclusive, "could not be read: connection refused"},
		{"log rotated in the middle", func(e *history.Event, s *history.Signal) {
			if e.Trial == 1 && s.Kind == history.KindLog && s.Phase == history.PhaseQuiet {
				e.Type, e.Err = history.Fail, "the log was rotated or truncated meanwhile"
			}
		}, false, Inconclusive, "rotated"},
		{"quiet window too short", func(_ *history.Event, s *history.Signal) {
			if s.Phase == history.PhaseQuiet {
				s.Over = 100 * time.Millisecond
			}
		}, false, Inconclusive, "cannot be compared"},
		{"too many changes", func(_ *history.Event, s *history.Signal) {
			if s.Kind == history.KindMetrics {
				s.More = 1
			}
		}, false, Inconclusive, "more places than are kept"},
		{"nobody was refused", func(_ *history.Event, s *history.Signal) { s.Refusals = 0 }, false, Inconclusive, "B was not refused"},
	}
	item, _ := ByID("lock_failures_observable")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			run := withSignals(t, tt.change)
			run.Manifest.Subject.BuiltinClient = tt.builtin
			f := judge(item, run)
			if f.Outcome != tt.want || !strings.Contains(f.Summary, tt.words) {
				t.Errorf("%s: %s; want %s with %q", f.Outcome, f.Summary, tt.want, tt.words)
			}
			if f.Outcome != Inconclusive && len(f.Evidence) == 0 {
				t.Error("verdict without evidence")
			}
		})
	}
}

// TestSignalsOfATrialThatDidNotEnd: such a trial stands behind no verdict.
func TestSignalsOfATrialThatDidNotEnd(t *testing.T) {
	run := withSignals(t, func(*history.Event, *history.Signal) {})
	run.Manifest.Probes[0].Completed = 0
	item, _ := ByID("lock_failures_observable")
	if f := judge(item, run); f.Outcome != Inconclusive {
		t.Errorf("%s: %s", f.Outcome, f.Summary)
	}
}

// TestSilenceIsCited: a verdict that nothing told of the refusals cites what was read
// and stood still.
func TestSilenceIsCited(t *testing.T) {
	run := withSignals(t, func(_ *history.Event, s *history.Signal) {
		dropHeld(s)
		dropLine(s)
		if s.Kind == history.KindMetrics {
			s.Series, s.Still = 3, []string{"go_threads", "jobs_total", `lock_acquire_total{outcome="acquired"}`}
		}
		if s.Kind == history.KindLog && s.Phase == history.PhaseRefused {
			s.Lines = nil
		}
	})
	item, _ := ByID("lock_failures_observable")
	f := judge(item, run)
	var cited string
	for _, e := range f.Evidence {
		if e.Seq > 0 {
			cited += e.Actor + ": " + e.Text + "\n"
		}
	}
	for _, want := range []string{
		`none moved that stands still otherwise; among those that stood still: lock_acquire_total{outcome="acquired"}, jobs_total`,
		"log: 4 refused acquires in ", "gained no line",
	} {
		if f.Outcome != Fail || !strings.Contains(cited, want) {
			t.Errorf("%s without %q:\n%s", f.Outcome, want, cited)
		}
	}
	if strings.Contains(cited, "go_threads") {
		t.Errorf("it cites the language's runtime:\n%s", cited)
	}
}
