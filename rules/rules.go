// Package rules reads a file of Prometheus rules, for one question: is there an alert on a
// metric? Expressions are parsed by metricsql, which reads PromQL and brings three small
// modules; Prometheus' own parser brings its storage along.
package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"

	"github.com/VictoriaMetrics/metricsql"
	"github.com/lockaudit/lockaudit/record"
	"go.yaml.in/yaml/v3"
)

// maxFile bounds a file of rules.
const maxFile = 8 << 20

// ErrRules: the file is not one of Prometheus rules, or an expression in it is none.
var ErrRules = errors.New("not a file of Prometheus rules")

// file is what of such a file matters here. PrometheusRule, the resource of the Kubernetes
// operator, has the same groups under spec.
type file struct {
	Groups []group `yaml:"groups"`
	Spec   struct {
		Groups []group `yaml:"groups"`
	} `yaml:"spec"`
}

type group struct {
	Name  string `yaml:"name"`
	Rules []rule `yaml:"rules"`
}

type rule struct {
	Alert  string `yaml:"alert"`
	Record string `yaml:"record"`
	Expr   string `yaml:"expr"`
}

// Load reads the alerts of a file.
func Load(path string) ([]record.Alert, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("more than %d bytes: %w", maxFile, ErrRules)
	}
	var alerts []record.Alert
	if err == nil {
		alerts, err = Parse(data)
	}
	if err != nil {
		return nil, fmt.Errorf("read rules %s: %w", path, err)
	}
	return alerts, nil
}

// Parse reads the alerts of every document. An alert on a recorded series is one on what
// that was recorded from, as far as the same file says so.
func Parse(data []byte) ([]record.Alert, error) {
	var all []rule
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var f file
		err := decoder.Decode(&f)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRules, err)
		}
		for _, g := range append(f.Groups, f.Spec.Groups...) {
			all = append(all, g.Rules...)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: it has no groups with rules", ErrRules)
	}
	recorded := map[string][]record.Selector{}
	parsed := make([][]record.Selector, len(all))
	for i, r := range all {
		selectors, err := selects(r.Expr)
		if err != nil {
			return nil, fmt.Errorf("%w: expr of %s: %w", ErrRules, r.Alert+r.Record, err)
		}
		parsed[i] = selectors
		if r.Record != "" {
			recorded[r.Record] = append(recorded[r.Record], selectors...)
		}
	}
	var out []record.Alert
	for i, r := range all {
		if r.Alert != "" {
			out = append(out, record.Alert{Name: r.Alert, Expr: r.Expr, Selects: resolve(parsed[i], recorded, map[string]bool{})})
		}
	}
	return out, nil
}

// resolve adds what recorded series were recorded from. Matchers on what was recorded
// narrow it by labels that the recording may have made: they do not come along.
func resolve(selectors []record.Selector, recorded map[string][]record.Selector, seen map[string]bool) []record.Selector {
	var out []record.Selector
	for _, s := range selectors {
		out = append(out, s)
		if from := recorded[s.Metric]; len(from) > 0 && !seen[s.Metric] {
			seen[s.Metric] = true // a series that is recorded from itself
			out = append(out, resolve(from, recorded, seen)...)
		}
	}
	return out
}

// selects lists the series that an expression looks at. What stands in absent() is not
// among them: such an alert fires when there is nothing, and stays quiet when it moves.
func selects(expr string) (out []record.Selector, err error) {
	defer func() { // the expression is somebody else's, and the parser is too
		if cause := recover(); cause != nil {
			out, err = nil, fmt.Errorf("the parser broke down: %v", cause)
		}
	}()
	e, err := metricsql.Parse(expr)
	if err != nil {
		return nil, err
	}
	absent := map[metricsql.Expr]bool{}
	metricsql.VisitAll(e, func(e metricsql.Expr) {
		if f, ok := e.(*metricsql.FuncExpr); ok && (f.Name == "absent" || f.Name == "absent_over_time") {
			for _, arg := range f.Args {
				metricsql.VisitAll(arg, func(e metricsql.Expr) { absent[e] = true })
			}
		}
	})
	metricsql.VisitAll(e, func(e metricsql.Expr) {
		m, ok := e.(*metricsql.MetricExpr)
		if !ok || absent[e] {
			return
		}
		for _, filters := range m.LabelFilterss {
			out = append(out, selector(filters))
		}
	})
	return out, nil
}

func selector(filters []metricsql.LabelFilter) record.Selector {
	var s record.Selector
	for _, f := range filters {
		op := record.MatchEqual
		switch {
		case f.IsRegexp && f.IsNegative:
			op = record.MatchNotRegexp
		case f.IsRegexp:
			op = record.MatchRegexp
		case f.IsNegative:
			op = record.MatchNotEqual
		}
		if f.Label == "__name__" && op == record.MatchEqual {
			s.Metric = f.Value
			continue
		}
		if f.IsRegexp {
			if _, err := regexp.Compile(f.Value); err != nil {
				continue // metricsql has its own, and Prometheus would refuse it
			}
		}
		s.Matchers = append(s.Matchers, record.Matcher{Label: f.Label, Op: op, Value: f.Value})
	}
	return s
}
