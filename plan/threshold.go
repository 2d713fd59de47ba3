package plan

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
)

// Threshold is a metric and the values of it at which an audit must end.
type Threshold struct {
	Name string
	// Labels that a series must have; it may have more.
	Labels map[string]string
	Op     string // > >= < <= == !=
	Value  float64
}

var (
	comparison = regexp.MustCompile(`^(.*?)\s*(>=|<=|==|!=|>|<)\s*([^\s<>=!{}"]+)\s*$`)
	metricName = regexp.MustCompile(`^\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\{(.*)\})?$`)
	labelPair  = regexp.MustCompile(`^\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*("(?:[^"\\]|\\.)*")\s*(,|$)`)
)

// ParseThreshold reads name > 5 and name{label="value"} >= 0.5.
func ParseThreshold(s string) (Threshold, error) {
	fail := func(why string) (Threshold, error) {
		return Threshold{}, &Error{Msg: fmt.Sprintf("safety.stop_if when %q %s", s, why), Hint: `for example when: 'http_errors_total{service="billing"} > 100'`}
	}
	parts := comparison.FindStringSubmatch(s)
	if parts == nil {
		return fail("is no comparison with a number")
	}
	value, err := strconv.ParseFloat(parts[3], 64)
	if err != nil || math.IsNaN(value) {
		return fail(fmt.Sprintf("compares with %q, which is no number", parts[3]))
	}
	metric := metricName.FindStringSubmatch(parts[1])
	if metric == nil {
		return fail(fmt.Sprintf("compares %q, which is no name of a metric", parts[1]))
	}
	t := Threshold{Name: metric[1], Labels: map[string]string{}, Op: parts[2], Value: value}
	for rest := metric[3]; rest != ""; {
		pair := labelPair.FindStringSubmatch(rest)
		if pair == nil {
			return fail(`has other labels than label="value", label="value"`)
		}
		if t.Labels[pair[1]], err = strconv.Unquote(pair[2]); err != nil {
			return fail(fmt.Sprintf("has the label value %s, which is not quoted right", pair[2]))
		}
		rest = rest[len(pair[0]):]
	}
	return t, nil
}

// Holds reports whether a value of the metric ends the audit. Not a number does: it
// says that nothing is known.
func (t Threshold) Holds(v float64) bool {
	if math.IsNaN(v) {
		return true
	}
	switch t.Op {
	case ">":
		return v > t.Value
	case ">=":
		return v >= t.Value
	case "<":
		return v < t.Value
	case "<=":
		return v <= t.Value
	case "==":
		return v == t.Value
	}
	return v != t.Value
}
