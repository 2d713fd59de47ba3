package checklist

import (
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// TestOwnRenewals: a plan's lease of 6 s, and what was seen of the real lock.
func TestOwnRenewals(t *testing.T) {
	const planned = 6 * time.Second
	item, _ := ByID("lease_fits_pauses")
	for _, tt := range []struct {
		name         string
		lease, every time.Duration // 0: not seen
		source       string
		want         Outcome
		words        string
	}{
		{"nothing seen", 0, 0, "", Pass, "renewed every third (assumed: no renewal was seen) leaves 4 s"},
		{"as planned", planned, 2 * time.Second, "exact", Pass, "renewed about every 2 s (seen) leaves 4 s"},
		{"at half of it, seen a little late", planned, 3200 * time.Millisecond, "exact", Pass, "leaves 2.8 s"},
		{"later than half of it", planned, 3500 * time.Millisecond, "exact", Fail, "a lease of 6 s is renewed only about every 3.5 s"},
		{"another lease", 30 * time.Second, 10 * time.Second, "exact", Warn, "the real lock has a lease of 30 s, and the plan says 6 s"},
		{"a shorter one", 2 * time.Second, 0, "exact", Warn, "the real lock has a lease of 2 s"},
		{"a rest that is shorter shows nothing", 2 * time.Second, 0, "at least", Pass, "a lease of 6 s"},
		{"a rest that is longer does", 20 * time.Second, 0, "at least", Warn, "a lease of at least 20 s"},
		{"what is within a look's error is the same", planned + 500*time.Millisecond, 0, "exact", Pass, "a lease of 6 s"},
	} {
		run := measured(t, 10*time.Millisecond, time.Millisecond)
		run.Manifest.Subject.TTL, run.Manifest.Subject.Takeover = planned, 0
		sample := func(name, source string, d time.Duration) history.Event {
			var values []time.Duration
			if d > 0 {
				values = []time.Duration{d}
			}
			s := history.NewSample(name, values, 10*time.Second)
			s.Source = source
			return history.Event{Seq: 3, Trial: 1, Actor: "observer", Op: history.OpMeasure, Type: history.OK, Sample: &s}
		}
		run.Histories[measureRenewals] = []history.Event{
			sample(history.SampleLease, tt.source, tt.lease), sample(history.SampleRenewal, "the lock service", tt.every),
		}
		f := judge(item, run)
		if f.Outcome != tt.want || !strings.Contains(f.Summary, tt.words) {
			t.Errorf("%s: %s: %s; want %s with %q", tt.name, f.Outcome, f.Summary, tt.want, tt.words)
		}
	}
}
