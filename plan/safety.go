package plan

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Safety limits what the audit may do. The owner of a node has the last word: its
// agent has limits of its own.
type Safety struct {
	// MaxFault caps the duration of every single fault; default 60 s.
	MaxFault time.Duration `yaml:"max_fault,omitempty"`
	// MaxFaults caps how many faults are in effect at once; 0 sets no cap.
	MaxFaults int `yaml:"max_faults,omitempty"`
	// MaxNodes caps on how many nodes faults are in effect at once.
	MaxNodes Share `yaml:"max_nodes,omitempty"`
	// StopIf are conditions that end the audit, looked at every second.
	StopIf []StopIf `yaml:"stop_if,omitempty"`
	// Protect are endpoints (host:port), addresses and networks that no partition
	// cuts off from a node.
	Protect []string `yaml:"protect,omitempty"`
	// Allow names refusals that do not apply to this plan.
	Allow []Override `yaml:"allow,omitempty"`
	// AllowHarm lets the late write of an application that is observed through to the
	// resource, to see what that does with it: for practice labs. Without it the write
	// is kept off.
	AllowHarm bool `yaml:"allow_harm,omitempty"`
}

// Override is a refusal that a plan can lift by its name.
type Override string

// The overrides.
const (
	// AllowQuorumLoss: a fault may leave no majority of the lock service together.
	AllowQuorumLoss Override = "quorum-loss"
	// AllowLongFaults: a fault may last as long as its probe needs, beyond max_fault.
	AllowLongFaults Override = "long-faults"
	// AllowOutsideNodes: a cut may name addresses that are neither of the plan's
	// nodes nor of its lock service or resource.
	AllowOutsideNodes Override = "outside-nodes"
	// AllowServerClock: the lock servers may be shown a wrong time of day. Where leases
	// depend on it, those of real clients end too early as well.
	AllowServerClock Override = "server-clock"
)

func overrides() []Override {
	return []Override{AllowQuorumLoss, AllowLongFaults, AllowOutsideNodes, AllowServerClock}
}

// Allows reports whether a refusal is lifted.
func (s Safety) Allows(o Override) bool { return slices.Contains(s.Allow, o) }

// StopIf is one condition: an HTTP URL that does not answer with 2xx, a command on the
// auditor's machine that does not exit with 0, or a metric beyond a threshold. What
// cannot be looked at ends the audit as well: nobody knows then that all is well.
type StopIf struct {
	HTTP    string   `yaml:"http,omitempty"`
	Command []string `yaml:"command,omitempty"`
	// Metrics is the URL of a Prometheus endpoint, and When the comparison: see
	// ParseThreshold.
	Metrics string `yaml:"metrics,omitempty"`
	When    string `yaml:"when,omitempty"`
	// Timeout of one look, which stops too; default 2 s.
	Timeout time.Duration `yaml:"timeout,omitempty"`
}

// String names the condition, without what may be secret in it.
func (c StopIf) String() string {
	switch {
	case c.HTTP != "":
		return "http " + bareURL(c.HTTP)
	case c.Metrics != "":
		return "metrics " + bareURL(c.Metrics) + " when " + c.When
	}
	return "command " + c.Command[0]
}

// bareURL is a URL without its query, which may hold a key.
func bareURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	u.RawQuery, u.Fragment = "", ""
	return RedactURL(u.String())
}

// Share is a number of nodes, or a percentage of them.
type Share struct {
	Count, Percent int
}

// UnmarshalYAML reads 2 or 50%.
func (s *Share) UnmarshalYAML(unmarshal func(any) error) error {
	var word string
	if err := unmarshal(&word); err != nil {
		return fmt.Errorf("safety.max_nodes is a number of nodes or a percentage, as 2 or 50%%")
	}
	number, percent := strings.CutSuffix(word, "%")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || percent && n > 100 {
		return fmt.Errorf("safety.max_nodes %q is not a number of nodes or a percentage, as 2 or 50%%", word)
	}
	if percent {
		*s = Share{Percent: n}
	} else {
		*s = Share{Count: n}
	}
	return nil
}

// Of is the number of nodes that a share of n is: at least one, and n without a limit.
func (s Share) Of(n int) int {
	switch {
	case s.Percent > 0:
		return max(1, n*s.Percent/100)
	case s.Count > 0:
		return s.Count
	}
	return n
}

func (s Share) String() string {
	if s.Percent > 0 {
		return strconv.Itoa(s.Percent) + "%"
	}
	return strconv.Itoa(s.Count)
}

// stopTimeout is the default of StopIf.Timeout.
const stopTimeout = 2 * time.Second

func (s *Safety) fill() {
	if s.MaxFault == 0 {
		s.MaxFault = DefaultMaxFault
	}
	for i := range s.StopIf {
		if s.StopIf[i].Timeout == 0 {
			s.StopIf[i].Timeout = stopTimeout
		}
	}
}

func (s Safety) validate() error {
	if s.MaxFault < time.Second || s.MaxFault > time.Hour {
		return &Error{Msg: fmt.Sprintf("safety.max_fault %s is out of range", s.MaxFault), Hint: "1s to 1h; 60s is the default"}
	}
	if s.MaxFaults < 0 {
		return &Error{Msg: fmt.Sprintf("safety.max_faults %d is out of range", s.MaxFaults), Hint: "how many faults may be in effect at once; leave it out for no cap"}
	}
	for _, c := range s.StopIf {
		if err := c.validate(); err != nil {
			return err
		}
	}
	for _, p := range s.Protect {
		if _, err := ParseProtected(p); err != nil {
			return err
		}
	}
	for _, o := range s.Allow {
		if slices.Contains(overrides(), o) {
			continue
		}
		var names []string
		for _, known := range overrides() {
			names = append(names, string(known))
		}
		e := &Error{Msg: fmt.Sprintf("safety.allow %q is unknown", o), Hint: "known are " + strings.Join(names, ", ")}
		if near := Nearest(string(o), names); near != "" {
			e.Hint = fmt.Sprintf("did you mean %q?", near)
		}
		return e
	}
	return nil
}

func (c StopIf) validate() error {
	kinds := 0
	for _, given := range []bool{c.HTTP != "", len(c.Command) > 0, c.Metrics != ""} {
		if given {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return &Error{Msg: "safety.stop_if needs http, command or metrics, one of them in each entry", Hint: "for example stop_if: [{http: http://lb/health}, {command: [check-slo, billing]}]"}
	case c.Timeout < 10*time.Millisecond || c.Timeout > time.Minute:
		return &Error{Msg: fmt.Sprintf("safety.stop_if timeout %s is out of range", c.Timeout), Hint: "10ms to 1m; 2s is the default"}
	case len(c.Command) > 0 && c.Command[0] == "":
		return &Error{Msg: "safety.stop_if command is empty", Hint: "for example command: [check-slo, billing]"}
	case (c.Metrics == "") != (c.When == ""):
		return &Error{Msg: "safety.stop_if metrics and when belong together", Hint: "for example {metrics: http://lb:9090/metrics, when: 'queue_depth > 1000'}"}
	case c.HTTP != "":
		return validStopURL("http", c.HTTP, "http://lb/health")
	case c.Metrics != "":
		if err := validStopURL("metrics", c.Metrics, "http://lb:9090/metrics"); err != nil {
			return err
		}
		_, err := ParseThreshold(c.When)
		return err
	}
	return nil
}

func validStopURL(key, s, example string) error {
	if u, err := url.Parse(s); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return &Error{Msg: fmt.Sprintf("safety.stop_if %s %q is not a URL", key, RedactURL(s)), Hint: "for example " + example}
	}
	return nil
}

// Protected is an entry of safety.protect: a network, or a host with a port (0:
// all ports) whose name may have to be looked up.
type Protected struct {
	Network netip.Prefix
	Host    string
	Port    int
}

// ParseProtected reads 10.0.0.0/8, 10.0.0.9, fd00::9, lb:443, 10.0.0.9:22 or
// [fd00::9]:22.
func ParseProtected(s string) (Protected, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return Protected{Network: p.Masked()}, nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return Protected{Host: a.String()}, nil
	}
	host, number, err := net.SplitHostPort(s)
	port, err2 := strconv.ParseUint(number, 10, 16)
	if err != nil || err2 != nil || host == "" || port == 0 || strings.ContainsAny(host, "/ ") {
		return Protected{}, &Error{Msg: fmt.Sprintf("safety.protect %q is not an endpoint or network", s), Hint: "for example 10.0.0.9:22, lb:443 or 10.0.9.0/24"}
	}
	return Protected{Host: host, Port: int(port)}, nil
}
