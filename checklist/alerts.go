package checklist

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/record"
)

// alertWords says which alert looks at one of the series, and whether any does. Whether it
// would fire, at its threshold and for its time, is not said: that is not known from a rule.
func alertWords(s record.Subject, series []string) (words string, found bool) {
	for _, name := range series {
		for _, a := range s.Alerts {
			if slices.ContainsFunc(a.Selects, func(sel record.Selector) bool { return selected(sel, name) }) {
				return fmt.Sprintf("the alert %s in %s looks at it", a.Name, s.Rules), true
			}
		}
	}
	return fmt.Sprintf("none of the %d alerts in %s looks at it, so that nobody is called", len(s.Alerts), s.Rules), false
}

// suffix is what a histogram or summary adds to its name. A look keeps its count and sum,
// and an alert may be on the buckets.
var suffix = regexp.MustCompile(`_(bucket|count|sum)$`)

// selected reports whether a selection takes the series, as it is exposed. Labels that it
// does not have are given by the scrape (job, instance), and may be anything.
func selected(sel record.Selector, series string) bool {
	name, labels := splitSeries(series)
	if sel.Metric != "" && sel.Metric != name && (!suffix.MatchString(name) || suffix.ReplaceAllString(sel.Metric, "") != suffix.ReplaceAllString(name, "")) {
		return false
	}
	named := sel.Metric != ""
	for _, m := range sel.Matchers {
		value, has := labels[m.Label]
		if m.Label == "__name__" {
			value, has, named = name, true, true
		}
		if has && !matches(m, value) {
			return false
		}
	}
	return named // a selection by job alone is not one of this metric
}

func matches(m record.Matcher, value string) bool {
	equal := m.Value == value
	if m.Op == record.MatchRegexp || m.Op == record.MatchNotRegexp {
		re, err := regexp.Compile("^(?s:" + m.Value + ")$") // anchored, as in PromQL
		if err != nil {
			return true // it cannot be told
		}
		equal = re.MatchString(value)
	}
	return equal == (m.Op == record.MatchEqual || m.Op == record.MatchRegexp)
}

// splitSeries takes name{a="b",c="d"} apart.
func splitSeries(series string) (name string, labels map[string]string) {
	name, rest, _ := strings.Cut(series, "{")
	labels = map[string]string{}
	for rest = strings.TrimSuffix(rest, "}"); rest != ""; {
		label, after, ok := strings.Cut(rest, "=")
		quoted, err := strconv.QuotedPrefix(after)
		if !ok || err != nil {
			break
		}
		if value, err := strconv.Unquote(quoted); err == nil {
			labels[strings.TrimPrefix(label, ",")] = value
		}
		rest = after[len(quoted):]
	}
	return name, labels
}
