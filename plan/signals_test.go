package plan

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSignals(t *testing.T) {
	for text, want := range map[string][]string{
		"metrics: http://app:9090/metrics":                      {"http://app:9090/metrics"},
		"metrics: [http://a:1/metrics, 'https://u:p@b:2/prom']": {"http://a:1/metrics", "https://u:p@b:2/prom"},
	} {
		p, err := Parse([]byte(good + "signals: {" + text + ", log: {file: /var/log/app.log, node: app-a}}\nmeasure_for: 30s\n"))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(p.Signals.Metrics, want) || p.Signals.Log.Node != "app-a" || !p.Signals.Any() || p.MeasureFor != 30*time.Second {
			t.Errorf("%+v", p.Signals)
		}
	}
	p, err := Parse([]byte(good + "signals: {log: {unit: billing@1.service}}\n"))
	if err != nil || p.Signals.Log.String() != "the journal of billing@1.service" {
		t.Errorf("%v %+v", err, p)
	}
	p, err = Parse([]byte(good + "signals: {process: {unit: billing.service}, gc_log: /var/log/gc.log}\n"))
	if err != nil || p.Signals.Process.Unit != "billing.service" || p.Signals.GCLog != "/var/log/gc.log" || p.Signals.Any() {
		t.Errorf("%v %+v", err, p) // it is no signal of a failure to acquire
	}
	p, err = Parse([]byte(good))
	if err != nil || p.Signals.Any() || p.MeasureFor != DefaultMeasureFor || p.Lock.Takeover != 0 {
		t.Errorf("%v %+v", err, p)
	}
}

func TestSignalsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"signals: {metrics: [app:9090]}":                     "not a URL",
		"signals: {metrics: file:///etc/passwd}":             "not a URL",
		"signals: {metrics: {a: b}}":                         "",
		"signals: {log: {file: app.log}}":                    "absolute path",
		"signals: {rules: alerts.yml}":                       "without signals.metrics",
		"signals: {gc_log: /var/log/gc.log}":                 "without signals.process",
		"signals: {process: java, gc_log: gc.log}":           "not an absolute path",
		"signals: {process: {unit: a.service, port: 1}}":     "named in 2 ways: unit a.service, port 1",
		"signals: {log: {node: app-a}}":                      "not exactly one of file and unit",
		"signals: {log: {unit: b.service, file: /var/x}}":    "not exactly one of file and unit",
		"signals: {log: {unit: 'b*'}}":                       "not the name of a unit",
		"signals: {log: {unit: '--user'}}":                   "not the name of a unit",
		"signals: {log: {file: /var/log/app.log, node: xx}}": "no node of the plan",
		"measure_for: 1ms":                                   "out of range",
		"measure_for: 10h":                                   "out of range",
	} {
		_, err := Parse([]byte(good + text + "\n"))
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Msg, want) || strings.Contains(e.Error(), "\n") {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	secret := "signals: {metrics: 'ftp://u:s3cret@app/x'}"
	if _, err := Parse([]byte(good + secret + "\n")); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("%v", err)
	}
}
