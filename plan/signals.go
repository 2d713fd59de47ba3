package plan

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
)

// Signals name where operators see that the lock could not be acquired.
type Signals struct {
	// Metrics are Prometheus endpoints: one URL or a list. Each is read from a
	// client node.
	Metrics URLs       `yaml:"metrics,omitempty"`
	Log     *LogSignal `yaml:"log,omitempty"`
	// Rules is a file of Prometheus rules on the auditor's machine, in which an alert on
	// these metrics should be. A relative path counts from the plan's folder.
	Rules string `yaml:"rules,omitempty"`
	// Process is the application on the client nodes, whose own pauses are measured.
	Process Process `yaml:"process,omitempty"`
	// GCLog is its JVM's unified log there.
	GCLog string `yaml:"gc_log,omitempty"`
}

// LogSignal is a log on a node: a file, or the journal of a systemd unit.
type LogSignal struct {
	// File may be a pattern of * and ? that means one file. What a container runtime
	// wrote (CRI, json-file) is read as the container wrote it.
	File string `yaml:"file,omitempty"`
	Unit string `yaml:"unit,omitempty"`
	// Node is where the file is; default the second client node, on which the
	// acquires of the probe contend fail.
	Node string `yaml:"node,omitempty"`
}

// String names the log.
func (l LogSignal) String() string {
	if l.Unit != "" {
		return "the journal of " + l.Unit
	}
	return l.File
}

// unitName is what journalctl takes for one unit; a name without a type is a service.
var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]{0,254}$`)

// URLs is one URL or a list of them.
type URLs []string

// UnmarshalYAML reads either form.
func (u *URLs) UnmarshalYAML(unmarshal func(any) error) error {
	var one string
	if err := unmarshal(&one); err == nil {
		*u = URLs{one}
		return nil
	}
	var list []string
	if err := unmarshal(&list); err != nil {
		return fmt.Errorf("signals.metrics is a URL or a list of URLs")
	}
	*u = list
	return nil
}

// Any reports whether anything is named.
func (s Signals) Any() bool { return len(s.Metrics) > 0 || s.Log != nil }

func (s Signals) validateProcess() error {
	switch ways := s.Process.ways(); {
	case len(ways) > 1:
		return &Error{Msg: fmt.Sprintf("signals.process is named in %d ways: %s", len(ways), strings.Join(ways, ", ")), Hint: "exactly one of name, cmdline, pid_file, unit, container and port"}
	case s.GCLog == "":
		return nil
	case len(ways) == 0:
		return &Error{Msg: "signals.gc_log stands without signals.process", Hint: "for example process: {unit: billing.service}, gc_log: /var/log/billing/gc.log"}
	case !path.IsAbs(s.GCLog):
		return &Error{Msg: fmt.Sprintf("signals.gc_log %q is not an absolute path", s.GCLog), Hint: "as -Xlog:gc,safepoint:file=… names it"}
	}
	return nil
}

func (p *Plan) validateSignals() error {
	for _, m := range p.Signals.Metrics {
		if u, err := url.Parse(m); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return &Error{Msg: fmt.Sprintf("signals.metrics %q is not a URL", RedactURL(m)), Hint: "for example http://app-b:9090/metrics"}
		}
	}
	if err := p.Signals.validateProcess(); err != nil {
		return err
	}
	if p.Signals.Rules != "" && len(p.Signals.Metrics) == 0 {
		return &Error{Msg: "signals.rules stands without signals.metrics", Hint: "name the endpoint whose metrics the alerts are on: metrics: http://app-b:9090/metrics"}
	}
	log := p.Signals.Log
	if log == nil {
		return nil
	}
	switch {
	case (log.File == "") == (log.Unit == ""):
		return &Error{Msg: "signals.log names not exactly one of file and unit", Hint: "for example log: {file: /var/log/billing.log, node: app-b}, or log: {unit: billing.service}"}
	case log.Unit != "" && !unitName.MatchString(log.Unit):
		return &Error{Msg: fmt.Sprintf("signals.log.unit %q is not the name of a unit", log.Unit), Hint: "for example billing.service, as systemctl status shows it"}
	case log.Unit == "" && !path.IsAbs(log.File):
		return &Error{Msg: fmt.Sprintf("signals.log.file %q is not an absolute path", log.File), Hint: "for example log: {file: /var/log/billing.log, node: app-b}"}
	}
	if log.Node == "" {
		return nil
	}
	for _, n := range p.Nodes {
		if n.Name == log.Node {
			return nil
		}
	}
	return &Error{Msg: fmt.Sprintf("signals.log.node %q is no node of the plan", log.Node), Hint: "name one of nodes, or leave it out for the second client node"}
}
