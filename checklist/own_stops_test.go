package checklist

import (
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// TestOwnStops: what stops the application's process alone counts like a pause of its
// node; its quota, which is summed over the CPUs, only worries.
func TestOwnStops(t *testing.T) {
	const ms = time.Millisecond
	item, _ := ByID("lease_fits_pauses")
	for _, tt := range []struct {
		name    string
		sample  string
		longest time.Duration
		want    Outcome
		words   string
	}{
		{"none", history.SampleStop, 0, Pass, "the process itself was not stopped meanwhile"},
		{"short", history.SampleStop, 13 * ms, Pass, "longest stop of the process itself 13 ms (hsperfdata of process 4711 (java))"},
		{"more than half of the budget", history.SampleStop, 1100 * ms, Warn, "little margin"},
		{"longer than the lease", history.SampleStop, 3100 * ms, Fail, "does not outlast"},
		{"short of CPU", history.SampleThrottle, 20 * ms, Pass, "quota was used up for 20 ms"},
		{"very short of CPU", history.SampleThrottle, 5 * time.Second, Warn, "little margin"},
	} {
		run := measured(t, 10*ms, ms)
		run.Manifest.Subject.TTL = 3 * time.Second
		s := history.Sample{Name: tt.sample, Unit: history.Nanoseconds, Node: "app-a", Source: "hsperfdata of process 4711 (java)", Over: 5 * time.Second}
		if tt.longest > 0 {
			s.Count, s.Max = 1, int64(tt.longest)
		}
		events := run.Histories[measurePauses]
		run.Histories[measurePauses] = append(events, history.Event{Seq: len(events) + 1, Node: "app-a", Actor: "agent", Op: history.OpMeasure, Type: history.OK, Trial: 1, Sample: &s})
		f := judge(item, run)
		if f.Outcome != tt.want || !strings.Contains(f.Summary, tt.words) {
			t.Errorf("%s: %s: %s; want %s with %q", tt.name, f.Outcome, f.Summary, tt.want, tt.words)
		}
		if blind := strings.Contains(f.Summary, "inside a process"); tt.want == Pass && blind != (tt.sample == history.SampleThrottle) {
			t.Errorf("%s: %s", tt.name, f.Summary)
		}
	}
}
