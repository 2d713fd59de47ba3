package probes

import (
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/history"
)

const exposition = `# HELP lock_acquire_total Acquires.
# TYPE lock_acquire_total counter
lock_acquire_total{outcome="held",app="billing"} 3
# TYPE lock_wait_seconds histogram
lock_wait_seconds_bucket{le="0.1"} 2
lock_wait_seconds_bucket{le="+Inf"} 4
lock_wait_seconds_sum 1.5
lock_wait_seconds_count 4
# TYPE queue gauge
queue 7
plain 1
`

func TestMovesOfMetrics(t *testing.T) {
	before, err := parseMetrics(Page{Status: 200, ContentType: "text/plain; version=0.0.4; charset=utf-8", Text: []byte(exposition)})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(`"billing"} 3`, `"billing"} 7`, "count 4", "count 5", "queue 7", "queue 6").Replace(exposition) + "new_total 1\n"
	after, err := parseMetrics(Page{Status: 200, Text: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	want := []history.Move{
		{Series: `lock_acquire_total{app="billing",outcome="held"}`, Type: "counter", Before: 3, After: 7},
		{Series: "lock_wait_seconds_count", Type: "histogram", Before: 4, After: 5},
		{Series: "new_total", Type: "untyped", Before: 0, After: 1},
		{Series: "queue", Type: "gauge", Before: 7, After: 6},
	}
	got := moves(before, after)
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%+v, want %+v", got[i], want[i])
		}
	}
}

func TestPagesThatAreNoMetrics(t *testing.T) {
	for _, tt := range []struct {
		page Page
		want string
	}{
		{Page{Status: 404, ContentType: "text/plain", Text: []byte("no")}, "status 404"},
		{Page{Status: 302}, "status 302"},
		{Page{Status: 200, ContentType: "text/html; charset=utf-8", Text: []byte("<html>")}, "serves text/html, not metrics"},
		{Page{Status: 200, Text: []byte("<!doctype html><p>hello there</p>\n")}, "does not serve Prometheus"},
		{Page{Status: 200, ContentType: "text/plain"}, "no metric at all"},
	} {
		_, err := parseMetrics(tt.page)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v", tt.page, err)
		}
	}
}

func FuzzParseMetrics(f *testing.F) {
	f.Add([]byte(exposition))
	f.Add([]byte("a NaN\nb +Inf\nc 1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		series, err := parseMetrics(Page{Status: 200, Text: text})
		if err == nil && len(moves(series, series)) != 0 {
			t.Errorf("moved in no time: %+v", moves(series, series))
		}
	})
}
