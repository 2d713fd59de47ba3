package probes

import (
	"io"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/history"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// TestGoTellsOfItsStops: this very program, with the collectors that Go services have.
func TestGoTellsOfItsStops(t *testing.T) {
	for range 3 {
		runtime.GC()
	}
	for name, options := range map[string][]func(*prometheusGo){
		"default":         nil,
		"runtime metrics": {func(o *prometheusGo) { o.all = true }},
	} {
		var o prometheusGo
		for _, set := range options {
			set(&o)
		}
		registry := prometheus.NewRegistry()
		registry.MustRegister(o.collector())
		server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
		res, err := server.Client().Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		server.Close()
		families, err := Page{Status: 200, ContentType: res.Header.Get("Content-Type"), Text: text}.Families()
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]history.Sample{}
		for _, s := range RuntimeStops(families, "http://app/metrics") {
			metric, _, _ := strings.Cut(s.Source, " of ")
			seen[metric] = s
		}
		want := []string{"go_gc_duration_seconds"}
		if o.all {
			want = append(want, "go_sched_pauses_total_gc_seconds")
		}
		for _, metric := range want {
			if s := seen[metric]; s.Count < 3 || s.Max <= 0 || time.Duration(s.Max) > time.Minute || s.Name != history.SampleStop {
				t.Errorf("%s: %s: %+v", name, metric, s)
			}
		}
	}
}

type prometheusGo struct{ all bool }

func (o prometheusGo) collector() prometheus.Collector {
	if o.all {
		return collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(collectors.MetricsAll))
	}
	return collectors.NewGoCollector()
}

func TestRuntimeStops(t *testing.T) {
	for text, want := range map[string]struct {
		max  time.Duration
		n    int
		note string
	}{
		"# TYPE jvm_gc_pause_seconds_max gauge\njvm_gc_pause_seconds_max{cause=\"a\"} 0.25\njvm_gc_pause_seconds_max{cause=\"b\"} 0.5\n":                                                                                                                                                                                           {500 * time.Millisecond, 2, "fades"},
		"# TYPE nodejs_gc_duration_seconds histogram\nnodejs_gc_duration_seconds_bucket{le=\"0.001\"} 5\nnodejs_gc_duration_seconds_bucket{le=\"0.1\"} 7\nnodejs_gc_duration_seconds_bucket{le=\"1\"} 7\nnodejs_gc_duration_seconds_bucket{le=\"+Inf\"} 7\nnodejs_gc_duration_seconds_sum 1\nnodejs_gc_duration_seconds_count 7\n": {100 * time.Millisecond, 7, "since the start"},
		"# TYPE nodejs_gc_duration_seconds histogram\nnodejs_gc_duration_seconds_bucket{le=\"0.1\"} 7\nnodejs_gc_duration_seconds_bucket{le=\"1\"} 7\nnodejs_gc_duration_seconds_bucket{le=\"+Inf\"} 8\nnodejs_gc_duration_seconds_sum 9\nnodejs_gc_duration_seconds_count 8\n":                                                    {time.Second, 8, "at least"},
		"# TYPE go_gc_duration_seconds summary\ngo_gc_duration_seconds{quantile=\"0\"} 0.1\ngo_gc_duration_seconds{quantile=\"1\"} NaN\ngo_gc_duration_seconds_sum 0\ngo_gc_duration_seconds_count 0\n":                                                                                                                            {0, 0, "256"},
		"# TYPE jvm_gc_pause_seconds_max gauge\njvm_gc_pause_seconds_max 1e300\n": {0, 1, "fades"},
	} {
		families, err := Page{Status: 200, Text: []byte(text)}.Families()
		if err != nil {
			t.Fatal(err)
		}
		all := RuntimeStops(families, "x")
		if len(all) != 1 || time.Duration(all[0].Max) != want.max || all[0].Count != want.n || !strings.Contains(strings.Join(all[0].Notes, ";"), want.note) {
			t.Errorf("%s: %+v", text, all)
		}
	}
}
