package plan

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

func TestThreshold(t *testing.T) {
	for s, want := range map[string]string{
		"queue_depth > 1000":              "queue_depth map[] > 1000",
		"  queue_depth>=1e3  ":            "queue_depth map[] >= 1000",
		"job:errors:rate5m<0.5":           "job:errors:rate5m map[] < 0.5",
		"up == 0":                         "up map[] == 0",
		"up != 1":                         "up map[] != 1",
		"x <= -2":                         "x map[] <= -2",
		"x < +Inf":                        "x map[] < +Inf",
		`x{} > 1`:                         "x map[] > 1",
		`x{a="b"} > 1`:                    "x map[a:b] > 1",
		`x { a = "b", c="d",} > 1`:        "x map[a:b c:d] > 1",
		`x{a="b>2"} > 1`:                  "x map[a:b>2] > 1",
		`x{a="} > 2",b="say \"no\""} > 1`: `x map[a:} > 2 b:say "no"] > 1`,
		"x":                               "is no comparison with a number",
		"":                                "is no comparison with a number",
		"x >":                             "is no comparison with a number",
		"x > 1 > 2":                       `compares "x > 1", which is no name`,
		"x => 1":                          `compares "x =", which is no name`,
		"x = 1":                           "is no comparison with a number",
		"x > much":                        `compares with "much", which is no number`,
		"x > NaN":                         "which is no number",
		"1x > 1":                          "which is no name of a metric",
		"> 1":                             "which is no name of a metric",
		`x{a=b} > 1`:                      "has other labels than",
		`x{a=~"b"} > 1`:                   "has other labels than",
		`x{a="b" c="d"} > 1`:              "has other labels than",
		`x{a="\q"} > 1`:                   "not quoted right",
	} {
		got := ""
		th, err := ParseThreshold(s)
		var e *Error
		switch {
		case err == nil:
			got = fmt.Sprint(th.Name, " ", th.Labels, " ", th.Op, " ", th.Value)
		case !errors.As(err, &e) || e.Hint == "":
			t.Errorf("%s: %v without a hint", s, err)
		default:
			got = err.Error()
		}
		if !strings.Contains(got, want) || err == nil && got != want {
			t.Errorf("%s: %s, want %s", s, got, want)
		}
	}
}

func TestThresholdHolds(t *testing.T) {
	for op, want := range map[string][3]bool{ // of 4, 5, 6 against 5
		">": {false, false, true}, ">=": {false, true, true}, "<": {true, false, false},
		"<=": {true, true, false}, "==": {false, true, false}, "!=": {true, false, true},
	} {
		th := Threshold{Op: op, Value: 5}
		if got := [3]bool{th.Holds(4), th.Holds(5), th.Holds(6)}; got != want {
			t.Errorf("%s: %v, want %v", op, got, want)
		}
		if !th.Holds(math.NaN()) {
			t.Errorf("%s: what is not a number is taken for all well", op)
		}
	}
}
