package probes

import (
	"bytes"
	"fmt"
	"math"
	"mime"
	"net/http"
	"sort"
	"strings"

	"github.com/lockaudit/lockaudit/history"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// series is one time series at one moment.
type series struct {
	kind  string
	value float64
}

// Families reads a page in Prometheus' text format.
func (p Page) Families() (map[string]*dto.MetricFamily, error) {
	if p.Status != http.StatusOK {
		return nil, fmt.Errorf("it answers with status %d", p.Status)
	}
	if kind, _, err := mime.ParseMediaType(p.ContentType); err == nil && kind != "text/plain" && kind != "application/openmetrics-text" {
		return nil, fmt.Errorf("it serves %s, not metrics", kind)
	}
	families, err := parseText(p.Text)
	if err != nil {
		return nil, fmt.Errorf("it does not serve Prometheus' text format: %w", err)
	}
	if len(families) == 0 {
		return nil, fmt.Errorf("it serves no metric at all")
	}
	return families, nil
}

// parseMetrics reads the series of a page. Of a histogram or a summary the count and
// the sum are kept.
func parseMetrics(p Page) (map[string]series, error) {
	families, err := p.Families()
	if err != nil {
		return nil, err
	}
	out := map[string]series{}
	for name, family := range families {
		kind := strings.ToLower(family.GetType().String())
		for _, m := range family.GetMetric() {
			add := func(suffix string, v float64) {
				// Not a number differs from itself, and a record cannot hold it.
				if !math.IsNaN(v) && !math.IsInf(v, 0) {
					out[name+suffix+labels(m)] = series{kind, v}
				}
			}
			switch {
			case m.Counter != nil:
				add("", m.Counter.GetValue())
			case m.Gauge != nil:
				add("", m.Gauge.GetValue())
			case m.Untyped != nil:
				add("", m.Untyped.GetValue())
			case m.Histogram != nil:
				add("_count", float64(m.Histogram.GetSampleCount()))
				add("_sum", m.Histogram.GetSampleSum())
			case m.Summary != nil:
				add("_count", float64(m.Summary.GetSampleCount()))
				add("_sum", m.Summary.GetSampleSum())
			}
		}
	}
	return out, nil
}

// parseText makes an error of a panic: the parser (prometheus/common 0.67.5) reads
// a nil metric when braces stand without a name, and the page is somebody else's.
func parseText(text []byte) (families map[string]*dto.MetricFamily, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			families, err = nil, fmt.Errorf("the parser broke down: %v", cause)
		}
	}()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(bytes.NewReader(text))
}

func labels(m *dto.Metric) string {
	if len(m.GetLabel()) == 0 {
		return ""
	}
	var pairs []string
	for _, l := range m.GetLabel() {
		pairs = append(pairs, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
	}
	sort.Strings(pairs)
	return "{" + strings.Join(pairs, ",") + "}"
}

// moves are the series whose value differs, by name. One that was not there
// before began at 0, as a counter does with its first increment.
func moves(before, after map[string]series) []history.Move {
	var out []history.Move
	for name, now := range after {
		if was := before[name]; was.value != now.value {
			out = append(out, history.Move{Series: name, Type: now.kind, Before: was.value, After: now.value})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Series < out[j].Series })
	return out
}
