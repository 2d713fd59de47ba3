package checklist

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

func TestSelected(t *testing.T) {
	m := func(label, op, value string) []record.Matcher {
		return []record.Matcher{{Label: label, Op: op, Value: value}}
	}
	const series = `lock_acquire_total{key="a\"=,b",outcome="held"}`
	for _, tt := range []struct {
		sel    record.Selector
		series string
		want   bool
	}{
		{record.Selector{Metric: "lock_acquire_total"}, series, true},
		{record.Selector{Metric: "lock_acquire"}, series, false},
		{record.Selector{Metric: "lock_acquire_total", Matchers: m("outcome", "=", "held")}, series, true},
		{record.Selector{Metric: "lock_acquire_total", Matchers: m("outcome", "=", "granted")}, series, false},
		{record.Selector{Metric: "lock_acquire_total", Matchers: m("outcome", "!=", "granted")}, series, true},
		{record.Selector{Metric: "lock_acquire_total", Matchers: m("outcome", "=~", "held|lost")}, series, true},
		{record.Selector{Metric: "lock_acquire_total", Matchers: m("outcome", "=~", "hel")}, series, false}, // anchored
		{record.Selector{Metric: "lock_acquire_total", Matchers: m("outcome", "!~", "he.*")}, series, false},
		{record.Selector{Metric: "lock_acquire_total", Matchers: m("key", "=", `a"=,b`)}, series, true},
		{record.Selector{Metric: "lock_acquire_total", Matchers: m("job", "=", "billing")}, series, true}, // the scrape's
		{record.Selector{Matchers: m("__name__", "=~", "lock_.*")}, series, true},
		{record.Selector{Matchers: m("__name__", "=~", "lock")}, series, false},
		{record.Selector{Matchers: m("job", "=", "billing")}, series, false},
		{record.Selector{Metric: "lock_wait_seconds_bucket"}, "lock_wait_seconds_count", true},
		{record.Selector{Metric: "lock_wait_seconds"}, "lock_wait_seconds_sum", true},
		{record.Selector{Metric: "lock_hold_seconds_bucket"}, "lock_wait_seconds_count", false},
		{record.Selector{Metric: "x"}, `x{broken`, true},
	} {
		if got := selected(tt.sel, tt.series); got != tt.want {
			t.Errorf("%+v of %s: %v", tt.sel, tt.series, got)
		}
	}
}

// TestAlertOnTheMetric: a metric that moves and wakes nobody is a warning, where the plan
// names the rules; where it does not, nothing is said of them.
func TestAlertOnTheMetric(t *testing.T) {
	item, _ := ByID("lock_failures_observable")
	run := load(t, filepath.Join("testdata", item.ID, "pass"))
	if f := judge(item, run); f.Outcome != Pass || strings.Contains(f.Summary, "alert") {
		t.Fatalf("%s: %s", f.Outcome, f.Summary)
	}
	metric := "lock_acquire_total"
	for _, tt := range []struct {
		metric string
		want   Outcome
		words  string
	}{
		{metric, Pass, "the alert Refused in alerts.yml looks at it"},
		{"other_total", Warn, "none of the 1 alerts in alerts.yml looks at it"},
	} {
		s := &run.Manifest.Subject
		s.Rules, s.Alerts = "alerts.yml", []record.Alert{{Name: "Refused", Expr: "x", Selects: []record.Selector{{Metric: tt.metric}}}}
		if f := judge(item, run); f.Outcome != tt.want || !strings.Contains(f.Summary, tt.words) {
			t.Errorf("%s: %s: %s", tt.metric, f.Outcome, f.Summary)
		}
	}
}

// TestUsualSignals: where nothing moved, the finding names where to begin, with sources.
func TestUsualSignals(t *testing.T) {
	item, _ := ByID("lock_failures_observable")
	usual := func(change func(*history.Event, *history.Signal)) string {
		text := ""
		for _, e := range judge(item, withSignals(t, change)).Evidence {
			text += e.Text + "\n"
		}
		return text
	}
	const words = "What is usually there to look at: grpc_client_handled_total"
	if text := usual(func(_ *history.Event, s *history.Signal) { dropHeld(s); dropLine(s) }); !strings.Contains(text, words) {
		t.Errorf("nothing moved, and nothing is named:\n%s", text)
	}
	if text := usual(func(_ *history.Event, s *history.Signal) { dropLine(s) }); strings.Contains(text, words) {
		t.Errorf("the metrics tell, and others are named:\n%s", text)
	}
	for backend, all := range usualSignals() {
		for _, u := range all {
			if u.what == "" || u.source == "" {
				t.Errorf("%s: %+v", backend, u)
			}
		}
	}
}
