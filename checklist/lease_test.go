package checklist

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// TestLeaseThresholds: a lease of 3 s that is renewed every third leaves 2 s for
// the longest pause and the longest round trip together.
func TestLeaseThresholds(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name          string
		pause, rtt    time.Duration
		ttl, takeover time.Duration
		want          Outcome
		words         string
	}{
		{"quiet", 10 * ms, ms, 3 * time.Second, 0, Pass, "the plan names no accepted takeover time"},
		{"quiet, with a takeover time", 10 * ms, ms, 3 * time.Second, 3 * time.Second, Pass, "in 5 s of measuring on app-a and app-b"},
		{"half of the budget", 990 * ms, 10 * ms, 3 * time.Second, 0, Pass, ""},
		{"more than half of it", 990 * ms, 11 * ms, 3 * time.Second, 0, Warn, "little margin"},
		{"all of it", 1990 * ms, 10 * ms, 3 * time.Second, 0, Warn, "just before a renewal"},
		{"just below the lease", 2989 * ms, 10 * ms, 3 * time.Second, 0, Warn, "just before a renewal"},
		{"the lease", 2990 * ms, 10 * ms, 3 * time.Second, 0, Fail, "does not outlast"},
		{"the network alone", ms, 3 * time.Second, 3 * time.Second, 0, Fail, "does not outlast"},
		{"longer than the takeover time", 10 * ms, ms, 3 * time.Second, 2 * time.Second, Fail, "longer than the takeover time of 2 s"},
	}
	item, _ := ByID("lease_fits_pauses")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			run := measured(t, tt.pause, tt.rtt)
			run.Manifest.Subject.TTL, run.Manifest.Subject.Takeover = tt.ttl, tt.takeover
			f := judge(item, run)
			if f.Outcome != tt.want || !strings.Contains(f.Summary, tt.words) {
				t.Errorf("%s: %s; want %s with %q", f.Outcome, f.Summary, tt.want, tt.words)
			}
		})
	}
}

func measured(t *testing.T, pause, rtt time.Duration) record.Run {
	t.Helper()
	run := load(t, filepath.Join("testdata", "lease_fits_pauses", "pass"))
	for _, events := range run.Histories {
		for i := range events {
			s := events[i].Sample
			switch {
			case s == nil || s.Count == 0:
			case s.Name == history.SamplePause:
				s.Max = int64(pause)
			default:
				s.Max = int64(rtt)
			}
		}
	}
	return run
}

// TestLeaseNeedsEveryNode: a node that was not measured is not a quiet one.
func TestLeaseNeedsEveryNode(t *testing.T) {
	item, _ := ByID("lease_fits_pauses")
	for name, change := range map[string]func(*record.Run, *history.Event){
		"a sample is missing": func(_ *record.Run, e *history.Event) {
			if e.Type == history.OK && e.Node == "app-b" {
				e.Sample = nil
			}
		},
		"one server of three was not measured": func(_ *record.Run, e *history.Event) {
			if e.Sample != nil && e.Node == "app-b" && strings.Contains(e.Sample.Peer, "10.77.0.13") {
				e.Type, e.Sample, e.Err = history.Info, nil, "agent connection closed"
			}
		},
		"nothing answered": func(_ *record.Run, e *history.Event) {
			if e.Sample != nil && e.Sample.Source == "tcp connect" {
				e.Sample = &history.Sample{Name: history.SampleRTT, Unit: history.Nanoseconds, Source: "tcp connect", Notes: []string{"3 of 3 connects failed"}}
			}
		},
		"no network": func(run *record.Run, _ *history.Event) { delete(run.Histories, measureNetwork) },
		"no pauses":  func(run *record.Run, _ *history.Event) { delete(run.Histories, measurePauses) },
		"another unit": func(_ *record.Run, e *history.Event) {
			if e.Sample != nil {
				e.Sample.Unit = "parsec"
			}
		},
	} {
		run := load(t, filepath.Join("testdata", "lease_fits_pauses", "pass"))
		for _, events := range run.Histories {
			for i := range events {
				change(&run, &events[i])
			}
		}
		if f := judge(item, run); f.Outcome != Inconclusive || f.Summary == "" {
			t.Errorf("%s: %s: %s", name, f.Outcome, f.Summary)
		}
	}
}
