package rules

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/record"
)

const some = `
groups:
  - name: locks
    rules:
      - record: job:lock_refused:rate5m
        expr: sum by (job) (rate(lock_acquire_total{outcome="held"}[5m]))
      - record: again
        expr: again + job:lock_refused:rate5m   # recorded from itself, too
      - alert: LockContended
        expr: again{job="billing"} > 0.1
        for: 10m
        labels: {severity: page}
      - alert: LockSilent
        expr: absent(lock_acquire_total) or lock_up == 0
      - alert: ByPattern
        expr: '{__name__=~"lock_.*", outcome!="granted"} > 0 and on (job) up == 1'
---
spec:   # a PrometheusRule of the Kubernetes operator
  groups:
    - name: more
      rules:
        - alert: Slow
          expr: histogram_quantile(0.99, sum(rate(lock_wait_seconds_bucket[5m])) by (le)) > 1
`

func TestParse(t *testing.T) {
	alerts, err := Parse([]byte(some))
	if err != nil {
		t.Fatal(err)
	}
	m := func(label, op, value string) record.Matcher {
		return record.Matcher{Label: label, Op: op, Value: value}
	}
	want := map[string][]record.Selector{
		"LockContended": {
			{Metric: "again", Matchers: []record.Matcher{m("job", "=", "billing")}}, {Metric: "again"},
			{Metric: "job:lock_refused:rate5m"}, {Metric: "lock_acquire_total", Matchers: []record.Matcher{m("outcome", "=", "held")}},
		},
		"LockSilent": {{Metric: "lock_up"}},
		"ByPattern":  {{Matchers: []record.Matcher{m("__name__", "=~", "lock_.*"), m("outcome", "!=", "granted")}}, {Metric: "up"}},
		"Slow":       {{Metric: "lock_wait_seconds_bucket"}},
	}
	if len(alerts) != len(want) {
		t.Errorf("%d alerts: %+v", len(alerts), alerts)
	}
	for _, a := range alerts {
		if !reflect.DeepEqual(a.Selects, want[a.Name]) {
			t.Errorf("%s: %+v, want %+v", a.Name, a.Selects, want[a.Name])
		}
	}
}

func TestRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":               "it has no groups",
		"hello: world\n": "it has no groups",
		"groups: [{rules: [{alert: A, expr: 'rate(x[5m'}]}]": "expr of A",
		"groups: [{rules: [{alert: A}]}]":                    "expr of A",
		"groups: 3\n":                                        "cannot unmarshal",
		"groups: [\n":                                        "did not find",
	} {
		if _, err := Parse([]byte(text)); !errors.Is(err, ErrRules) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	path := filepath.Join(t.TempDir(), "alerts.yml")
	if _, err := Load(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, []byte(some), 0o600); err != nil {
		t.Fatal(err)
	}
	if alerts, err := Load(path); err != nil || len(alerts) != 4 {
		t.Errorf("%+v, %v", alerts, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("groups: [{rules: [{alert: A, expr: 'sum by (a) (rate(x{b=~\"c\"}[5m]))'}]}]")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := Parse([]byte(text)); err != nil && !errors.Is(err, ErrRules) {
			t.Error(err)
		}
	})
}
