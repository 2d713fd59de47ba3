package plan

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Clients says which program takes the lock in the probes: the built-in client
// of the backend, one that speaks the client protocol, or the application itself.
type Clients struct {
	Builtin *bool    `yaml:"builtin,omitempty"`
	Exec    []string `yaml:"exec,omitempty"`
	// Env is the environment of Exec, besides PATH, HOME and LANG. A value may name a
	// variable of the auditor's: ${LOCK_TOKEN}.
	Env map[string]string `yaml:"env,omitempty"`
	// Observer is the program that asks the service who holds the key, and how it is
	// built, where Exec can do neither; empty: Exec.
	Observer []string `yaml:"observer,omitempty"`
	// Observe: the holder in the five steps is the application itself, unchanged. Where
	// a probe needs lock clients, they are the ones above.
	Observe *Observe `yaml:"observe,omitempty"`
}

// Own reports whether the lock clients are the user's own program.
func (c Clients) Own() bool { return len(c.Exec) > 0 }

// Observer is the name of the lock client that never acquires.
const Observer = "observer"

// ClientCommand is the program that the lock client of that name runs on a node.
func (p *Plan) ClientCommand(node, name string) []string {
	switch {
	case !p.Clients.Own():
		return []string{"lockaudit", "client", p.Lock.Backend}
	case name == Observer && len(p.Clients.Observer) > 0:
		return p.Clients.Observer
	}
	for _, n := range p.Nodes {
		if n.Name == node && len(n.Client) > 0 {
			return n.Client
		}
	}
	return p.Clients.Exec
}

// ClientEnv is what a lock client gets besides PATH, HOME and LANG, as NAME=VALUE.
func (p *Plan) ClientEnv() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(p.Clients.Env)) {
		out = append(out, name+"="+p.Clients.Env[name])
	}
	return out
}

// Secrets are the values that no record may hold.
func (p *Plan) Secrets() []string {
	out := []string{p.Lock.Password}
	if p.Resource != nil {
		out = append(out, p.Resource.Password)
	}
	for name, value := range p.Clients.Env {
		if isSecretVar(name) {
			out = append(out, value)
		}
	}
	for key, value := range p.Lock.Options {
		if s, ok := value.(string); ok && isSecret(key) {
			out = append(out, s)
		}
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

// secretWords in the name of a variable say that its value is one.
var secretWords = regexp.MustCompile(`(?i)pass|secret|token|key|credential|auth`)

func isSecretVar(name string) bool { return secretWords.MatchString(name) }

// RedactText takes the plan's secrets out of somebody else's words.
func (p *Plan) RedactText(text string) string {
	for _, s := range p.Secrets() {
		text = strings.ReplaceAll(text, s, Redacted)
	}
	return urlPassword.ReplaceAllString(text, "$1:"+Redacted+"@")
}

// urlPassword is user and password in a URL that a program may have logged.
var urlPassword = regexp.MustCompile(`([a-z][a-z0-9+.-]*://[^/\s:@]*):[^/\s@]+@`)

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (c Clients) validate() error {
	builtin := c.Builtin != nil && *c.Builtin
	switch {
	case builtin && c.Own():
		return &Error{Msg: "clients names both builtin and exec", Hint: "choose one"}
	case c.Builtin != nil && !*c.Builtin && !c.Own() && c.Observe == nil:
		return &Error{Msg: "clients names no program", Hint: "builtin: true, or exec: [node, /opt/client.js]"}
	case c.Own() && c.Exec[0] == "":
		return &Error{Msg: "clients.exec has an empty command", Hint: "for example exec: [node, /opt/client.js]"}
	case !c.Own() && len(c.Observer) > 0:
		return &Error{Msg: "clients.observer goes with exec only", Hint: "the built-in client observes by itself"}
	case !c.Own() && len(c.Env) > 0:
		return &Error{Msg: "clients.env goes with exec only", Hint: "the built-in client reads no environment"}
	}
	for name := range c.Env {
		if !variable.MatchString(name) {
			return &Error{Msg: fmt.Sprintf("clients.env: %q is not the name of a variable", name), Hint: "letters, digits and underscore"}
		}
	}
	return nil
}

// validateClients: a command of one node replaces exec there, and nothing else.
func (p *Plan) validateClients() error {
	for _, n := range p.Nodes {
		if len(n.Client) > 0 && !p.Clients.Own() {
			return &Error{Msg: fmt.Sprintf("node %q names a lock client, and clients.exec does not", n.Name), Hint: "clients: {exec: […]} is the command on all nodes; a node's client replaces it there"}
		}
	}
	return nil
}
