package plan

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Observe says how an application is found that is audited as it is: which process of a
// client node it is, and how the lock service's words about a holder lead to one of them.
type Observe struct {
	// Process is the application on each client node. {node} in it is replaced by the
	// node's name.
	Process Process `yaml:"process,omitempty"`
	// Owner is a pattern on what the lock service stores about the holder (the value of
	// a key). Its groups node, host, addr, port and pid say who that is.
	Owner string `yaml:"owner,omitempty"`
	// Connection: the lock service knows the holder's connection, and the node whose
	// socket that is.
	Connection bool `yaml:"connection,omitempty"`
	// TakeWithin is how long the audit waits for somebody to take the lock, at first
	// and after the holder lost it; default 1 m.
	TakeWithin time.Duration `yaml:"take_within,omitempty"`
	// Effects say where the application's writes can be seen; nil: nowhere.
	Effects *Effects `yaml:"effects,omitempty"`
}

// Effects are lines in which the application's writes show.
type Effects struct {
	// Log is a file on each client node; {node} is replaced by the node's name.
	Log string `yaml:"log,omitempty"`
	// HTTP is a page, and SQL a query to the resource, that lists what was written, a
	// line each. Tap is the record of a lockaudit tap, on the node TapNode.
	HTTP    string `yaml:"http,omitempty"`
	SQL     string `yaml:"sql,omitempty"`
	Tap     string `yaml:"tap,omitempty"`
	TapNode string `yaml:"tap_node,omitempty"`
	// Accepted and Refused are patterns on such a line, with the groups of Owner and
	// token. What a tap records needs none.
	Accepted string `yaml:"accepted,omitempty"`
	Refused  string `yaml:"refused,omitempty"`
}

// DefaultTakeWithin is enough for holders that stay; the plan of a job that runs every
// hour says more.
const DefaultTakeWithin = time.Minute

// The groups of a pattern that lead to an instance, and the one that is a fencing token.
const (
	GroupNode  = "node"
	GroupHost  = "host"
	GroupAddr  = "addr"
	GroupPort  = "port"
	GroupPID   = "pid"
	GroupToken = "token"
)

// At is s for one node.
func At(s, node string) string { return strings.ReplaceAll(s, "{node}", node) }

// At is the process for one node.
func (p Process) At(node string) Process {
	for _, s := range []*string{&p.Name, &p.Cmdline, &p.PIDFile, &p.Unit, &p.Container} {
		*s = At(*s, node)
	}
	return p
}

func (o *Observe) fill() {
	if o != nil && o.TakeWithin == 0 {
		o.TakeWithin = DefaultTakeWithin
	}
}

func (p *Plan) validateObserve() error {
	o := p.Clients.Observe
	if o == nil {
		if p.Safety.AllowHarm {
			return &Error{Msg: "safety.allow_harm without clients.observe", Hint: "lock clients of the audit's own write to canary rows only, where nothing is harmed"}
		}
		return nil
	}
	switch ways := o.Process.ways(); {
	case len(ways) > 1:
		return &Error{Msg: "clients.observe names its process in several ways: " + strings.Join(ways, ", "), Hint: "exactly one of name, cmdline, pid_file, unit, container and port"}
	case o.Owner == "" && !o.Connection:
		return &Error{Msg: "clients.observe does not say which instance holds the lock", Hint: `owner: '^(?P<host>[^:]+):(?P<pid>\d+)' reads it from the lock's value; connection: true asks the lock service for the holder's connection`}
	case o.Owner != "" && o.Connection:
		return &Error{Msg: "clients.observe names both owner and connection", Hint: "choose one"}
	case o.TakeWithin < time.Second || o.TakeWithin > 24*time.Hour:
		return &Error{Msg: fmt.Sprintf("clients.observe.take_within %s is out of range", o.TakeWithin), Hint: "1s to 24h; 1m is the default"}
	case o.Connection && p.Lock.Backend == "etcd":
		return &Error{Msg: "clients.observe.connection: etcd does not tell whose connection a lease belongs to", Hint: "owner: a pattern on the value of the holder's key"}
	}
	if o.Owner != "" {
		groups, err := pattern("owner", o.Owner)
		if err != nil {
			return err
		}
		if err := o.leads(groups); err != nil {
			return err
		}
	}
	switch {
	case o.Effects != nil:
		return p.validateEffects(*o.Effects)
	case p.Safety.AllowHarm:
		return &Error{Msg: "safety.allow_harm without clients.observe.effects", Hint: "nobody would see what the late write does: name a log, page, query or tap in which writes show"}
	}
	return nil
}

// leads makes sure that the groups lead to one process on one node.
func (o *Observe) leads(groups []string) error {
	place := slices.ContainsFunc(groups, func(g string) bool { return g == GroupNode || g == GroupHost || g == GroupAddr })
	process := !o.Process.IsZero() || slices.Contains(groups, GroupPID) || slices.Contains(groups, GroupPort) && slices.Contains(groups, GroupAddr)
	switch {
	case !place:
		return &Error{Msg: "clients.observe.owner has no group node, host or addr", Hint: `for example '^(?P<host>[^:]+):(?P<pid>\d+)$' for values such as app-a:4711`}
	case !process:
		return &Error{Msg: "clients.observe says on which node the holder is, and not which process there", Hint: "process: {unit: billing}, or a group pid in owner"}
	}
	return nil
}

// pattern checks a pattern and returns its groups.
func pattern(key, s string) ([]string, error) {
	re, err := regexp.Compile(s)
	if err != nil {
		return nil, &Error{Msg: fmt.Sprintf("clients.observe.%s: %v", key, err), Hint: "the syntax is that of Go and RE2"}
	}
	known := []string{GroupNode, GroupHost, GroupAddr, GroupPort, GroupPID, GroupToken}
	var out []string
	for _, g := range re.SubexpNames() {
		if g == "" {
			continue
		}
		if !slices.Contains(known, g) {
			e := &Error{Msg: fmt.Sprintf("clients.observe.%s: unknown group %q", key, g), Hint: "known are " + strings.Join(known, ", ")}
			if near := Nearest(g, known); near != "" {
				e.Hint = fmt.Sprintf("did you mean %q?", near)
			}
			return nil, e
		}
		out = append(out, g)
	}
	return out, nil
}

func (p *Plan) validateEffects(e Effects) error {
	sources := 0
	for _, given := range []string{e.Log, e.HTTP, e.SQL, e.Tap} {
		if given != "" {
			sources++
		}
	}
	switch {
	case sources != 1:
		return &Error{Msg: "clients.observe.effects needs log, http, sql or tap, one of them", Hint: "for example effects: {log: /var/log/billing.log, accepted: 'wrote invoice'}"}
	case e.Log != "" && !path.IsAbs(e.Log), e.Tap != "" && !path.IsAbs(e.Tap):
		return &Error{Msg: fmt.Sprintf("clients.observe.effects: %q is not an absolute path", e.Log+e.Tap)}
	case e.Tap != "" && e.Accepted+e.Refused != "":
		return &Error{Msg: "clients.observe.effects: a tap says by itself what was accepted and refused", Hint: "leave accepted and refused out"}
	case e.Tap != "" && !slices.ContainsFunc(p.Nodes, func(n Node) bool { return n.Name == e.TapNode }):
		return &Error{Msg: fmt.Sprintf("clients.observe.effects.tap_node %q is no node of the plan", e.TapNode), Hint: "the node on which lockaudit tap writes the file"}
	case e.Tap == "" && e.Accepted == "":
		return &Error{Msg: "clients.observe.effects.accepted is missing", Hint: "a pattern on the lines that tell of a write, with a group node, host or addr unless it is a log"}
	}
	for key, s := range map[string]string{"effects.accepted": e.Accepted, "effects.refused": e.Refused} {
		groups, err := pattern(key, s)
		if err != nil {
			return err
		}
		who := slices.ContainsFunc(groups, func(g string) bool { return g == GroupNode || g == GroupHost || g == GroupAddr })
		if s != "" && !who && e.Log == "" {
			return &Error{Msg: fmt.Sprintf("clients.observe.%s has no group node, host or addr", key), Hint: "without one nobody knows whose write it was"}
		}
	}
	if e.SQL != "" && (p.Resource == nil || p.Resource.Kind != "postgres") {
		return &Error{Msg: "clients.observe.effects.sql needs a resource of kind postgres", Hint: "the query is sent to the plan's resource, in a transaction that only reads"}
	}
	return nil
}
