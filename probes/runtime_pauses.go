package probes

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/history"

	dto "github.com/prometheus/client_model/go"
)

// runtimePauses are the metrics in which a runtime tells how long it stopped its own
// process, with where they come from.
func runtimePauses() map[string]string {
	return map[string]string{
		// prometheus/client_golang, collectors.NewGoCollector: the last 256 collections.
		"go_gc_duration_seconds": "stops of Go's collector, the last 256 of them at most",
		// The same, WithGoCollectorRuntimeMetrics: runtime/metrics /sched/pauses/total/….
		"go_sched_pauses_total_gc_seconds":    "stops of Go's collector since the start",
		"go_sched_pauses_total_other_seconds": "other stops of Go's runtime since the start",
		"go_gc_pauses_seconds":                "stops of Go's collector since the start",
		// micrometer-core, JvmGcMetrics: the longest of the last few minutes.
		"jvm_gc_pause_seconds_max": "stops of the JVM's collector, a maximum that fades",
		// npm prom-client, gc.js and eventLoopLag.js.
		"nodejs_gc_duration_seconds":       "stops of Node's collector since the start",
		"nodejs_eventloop_lag_max_seconds": "Node's event loop late, since the last look at it",
	}
}

// RuntimeStops are the samples that a page of metrics has of its own process's stops.
func RuntimeStops(families map[string]*dto.MetricFamily, source string) []history.Sample {
	var out []history.Sample
	for name, about := range runtimePauses() {
		family := families[name]
		if family == nil {
			continue
		}
		s := history.Sample{Name: history.SampleStop, Unit: history.Nanoseconds, Source: name + " of " + source, Notes: []string{about}}
		for _, m := range family.GetMetric() {
			longest, n, least := longestOf(m)
			if d := asDuration(longest); d >= time.Duration(s.Max) {
				s.Max = int64(d)
				if least {
					s.Notes = []string{about, "at least: beyond the last bucket"}
				}
			}
			s.Count += n
		}
		if s.Count == 0 {
			s.Max = 0
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(x, y history.Sample) int { return strings.Compare(x.Source, y.Source) })
	return out
}

// longestOf is the longest stop in seconds that a metric tells of: of a summary the
// quantile 1, of a histogram the upper bound of its last bucket with anything in it, which
// the longest does not exceed. least: it may have been longer.
func longestOf(m *dto.Metric) (longest float64, n int, least bool) {
	switch {
	case m.Gauge != nil:
		return m.Gauge.GetValue(), 1, false
	case m.Summary != nil:
		for _, q := range m.Summary.GetQuantile() {
			if q.GetQuantile() == 1 && !math.IsNaN(q.GetValue()) {
				longest = q.GetValue()
			}
		}
		return longest, bounded(m.Summary.GetSampleCount()), false
	case m.Histogram != nil:
		before := uint64(0)
		for _, b := range m.Histogram.GetBucket() {
			switch bound := b.GetUpperBound(); {
			case b.GetCumulativeCount() <= before:
			case math.IsInf(bound, 1):
				longest, least = lastBound(m), true
			default:
				longest = bound
			}
			before = max(before, b.GetCumulativeCount())
		}
		// Some expositions leave the bucket of +Inf to the count.
		if m.Histogram.GetSampleCount() > before {
			longest, least = lastBound(m), true
		}
		return longest, bounded(m.Histogram.GetSampleCount()), least
	}
	return 0, 0, false
}

// lastBound is the highest bound of a histogram that is a number.
func lastBound(m *dto.Metric) (bound float64) {
	for _, b := range m.Histogram.GetBucket() {
		if v := b.GetUpperBound(); !math.IsInf(v, 1) {
			bound = max(bound, v)
		}
	}
	return bound
}

func bounded(n uint64) int { return int(min(n, math.MaxInt32)) }

func asDuration(seconds float64) time.Duration {
	if math.IsNaN(seconds) || seconds < 0 || seconds > float64(math.MaxInt64)/float64(time.Second) {
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}

// runtimeStops reads every page of metrics once. A page that cannot be read is noted and
// judged by contend, which reads it for its own sake.
func (t *Trial) runtimeStops(read func(url string) (Page, error)) {
	for _, url := range t.Metrics {
		e := history.Event{Actor: "agent", Node: t.NodeB, Op: history.OpMeasure, Type: history.Invoke}
		e.Call = t.record(e).Seq
		page, err := read(url)
		var families map[string]*dto.MetricFamily
		if err == nil {
			families, err = page.Families()
		}
		samples := RuntimeStops(families, redacted(url))
		if err == nil && len(samples) == 0 {
			err = fmt.Errorf("%s tells of no stop of its runtime", redacted(url))
		}
		if err != nil {
			e.Type, e.Err = history.Fail, err.Error()
			t.record(e)
			continue
		}
		t.samples(e, t.NodeB, samples)
	}
}

// samples records several results of one call: the first answers it, the others have
// invokes of their own.
func (t *Trial) samples(e history.Event, node string, all []history.Sample) {
	for i := range all {
		if i > 0 {
			invoke := e
			invoke.Type, invoke.Call, invoke.Sample = history.Invoke, 0, nil
			e.Call = t.record(invoke).Seq
		}
		all[i].Node = node
		e.Type, e.Sample = history.OK, &all[i]
		t.record(e)
	}
}
