package audit

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/plan"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// TestStopThresholds: against a page that Prometheus' own library serves. Whatever
// cannot be read ends the audit, as if it were beyond the threshold.
func TestStopThresholds(t *testing.T) {
	registry := prometheus.NewRegistry()
	queue := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "queue_depth"}, []string{"queue"})
	waits := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "wait_seconds", Buckets: []float64{1}})
	odd := prometheus.NewGauge(prometheus.GaugeOpts{Name: "odd"})
	registry.MustRegister(queue, waits, odd)
	queue.WithLabelValues("billing").Set(7)
	queue.WithLabelValues("mail").Set(70)
	waits.Observe(0.5)
	waits.Observe(3)
	odd.Set(math.NaN())
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/page", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<p>hello</p>\n") })
	server := httptest.NewServer(mux)
	defer server.Close()
	metrics := server.URL + "/metrics?key=geheim"
	for _, x := range []struct{ url, when, want string }{
		{metrics, `queue_depth{queue="billing"} > 7`, ""},
		{metrics, `queue_depth{queue="billing"} >= 7`, `queue_depth{queue="billing"} is 7`},
		{metrics, `queue_depth > 70`, ""},
		{metrics, `queue_depth > 69.5`, `queue_depth{queue="mail"} is 70`},
		{metrics, `queue_depth < 7`, ""},
		{metrics, `wait_seconds_count > 2`, ""},
		{metrics, `wait_seconds_count > 1`, "wait_seconds_count is 2"},
		{metrics, `wait_seconds_bucket{le="1"} < 2`, `wait_seconds_bucket{le="1"} is 1`},
		{metrics, `wait_seconds_sum == 3.5`, "wait_seconds_sum is 3.5"},
		{metrics, `queue_depth{queue="billing",host="a"} > 100`, "serves no such metric"},
		{metrics, `queue_dpeth > 100`, "serves no such metric"},
		{metrics, `odd > 100`, "odd is NaN"},
		{server.URL + "/nowhere", `queue_depth > 100`, "status 404"},
		{server.URL + "/page", `queue_depth > 100`, "it serves text/html, not metrics"},
		{"http://u:geheim@127.0.0.1:1/", `queue_depth > 100`, "connection refused"},
	} {
		c := plan.StopIf{Metrics: x.url, When: x.when, Timeout: 20 * time.Second}
		err := newStopper([]plan.StopIf{c}).check(context.Background())
		switch {
		case x.want == "" && err != nil:
			t.Errorf("%s: %v", x.when, err)
		case x.want != "" && (!errors.Is(err, ErrStopped) || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "geheim")):
			t.Errorf("%s: %v, want %q", x.when, err, x.want)
		}
	}
}

// TestThresholdsAreWatched: a metric that moves beyond its threshold ends an audit that
// is under way.
func TestThresholdsAreWatched(t *testing.T) {
	registry := prometheus.NewRegistry()
	faults := prometheus.NewCounter(prometheus.CounterOpts{Name: "http_errors_total"})
	registry.MustRegister(faults)
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer server.Close()
	s := newStopper([]plan.StopIf{{Metrics: server.URL, When: "http_errors_total > 0", Timeout: 20 * time.Second}})
	if err := s.check(context.Background()); err != nil {
		t.Fatalf("all is well: %v", err)
	}
	fired := make(chan error, 1)
	go s.watch(t.Context(), func(err error) { fired <- err })
	faults.Inc()
	select {
	case err := <-fired:
		if !errors.Is(err, ErrStopped) || !strings.Contains(err.Error(), "http_errors_total is 1") {
			t.Error(err)
		}
	case <-time.After(2 * time.Minute):
		t.Error("the condition did not fire")
	}
}
