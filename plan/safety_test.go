package plan

import (
	"errors"
	"strings"
	"testing"
	"time"
)

const bare = "name: x\nlock: {backend: redis, endpoints: [10.0.0.1:1], key: k, ttl: 2s}\n"

func TestSafety(t *testing.T) {
	p, err := Parse([]byte(bare + `safety:
  max_fault: 30s
  max_faults: 4
  max_nodes: 50%
  stop_if:
    - {http: "http://u:p@lb/health?key=1"}
    - {command: [check-slo, billing], timeout: 5s}
  protect: [10.0.0.9:22, lb:443, 10.9.0.0/16, "[fd00::9]:22", 10.0.0.7]
  allow: [quorum-loss]
`))
	if err != nil {
		t.Fatal(err)
	}
	s := p.Safety
	if s.MaxFaults != 4 || s.MaxNodes.Of(5) != 2 || s.MaxNodes.Of(1) != 1 || s.StopIf[0].Timeout != 2*time.Second || s.StopIf[1].Timeout != 5*time.Second ||
		!s.Allows(AllowQuorumLoss) || s.Allows(AllowLongFaults) || len(s.Protect) != 5 {
		t.Errorf("%+v", s)
	}
	if got := s.StopIf[0].String(); got != "http http://u:REDACTED@lb/health" {
		t.Error(got)
	}
	if (Share{}).Of(7) != 7 || (Share{Count: 2}).Of(7) != 2 {
		t.Error("a share of 7 nodes")
	}
}

func TestSafetyMistakes(t *testing.T) {
	for yaml, want := range map[string]string{
		"max_faults: -1":        "out of range",
		"max_fualts: 1":         `did you mean "max_faults"`,
		"max_nodes: 0":          "not a number of nodes",
		"max_nodes: 101%":       "not a number of nodes",
		"max_nodes: half":       "not a number of nodes",
		"stop_if: [{}]":         "needs http, command or metrics",
		"stop_if: [{http: lb}]": "not a URL",
		"stop_if: [{http: http://a, command: [b]}]":                 "needs http, command or metrics",
		"stop_if: [{htpp: http://a}]":                               `did you mean "http"`,
		"stop_if: [{http: http://a, timeout: 5}]":                   "not a duration",
		"stop_if: [{http: http://a, timeout: 5m}]":                  "out of range",
		"stop_if: [{metrics: http://a, command: [b], when: x > 1}]": "needs http, command or metrics",
		"stop_if: [{metrics: http://a}]":                            "metrics and when belong together",
		"stop_if: [{http: http://a, when: x > 1}]":                  "metrics and when belong together",
		"stop_if: [{metrics: lb, when: x > 1}]":                     `stop_if metrics "lb" is not a URL`,
		"stop_if: [{metrics: http://a, when: x}]":                   "is no comparison with a number",
		"stop_if: [{metrics: http://a, wehn: x}]":                   `did you mean "when"`,
		`stop_if: [{command: [""]}]`:                                "command is empty",
		"protect: [nowhere]":                                        "not an endpoint",
		"protect: [10.0.0.9:0]":                                     "not an endpoint",
		"allow: [quorum-los]":                                       `did you mean "quorum-loss"`,
		"allow: [everything]":                                       "known are quorum-loss, long-faults, outside-nodes",
		"max_fault: 2h":                                             "out of range",
	} {
		_, err := Parse([]byte(bare + "safety: {" + yaml + "}\n"))
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Error()+" "+e.Hint, want) {
			t.Errorf("%s: %v, want %q", yaml, err, want)
		}
	}
}
