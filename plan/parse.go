package plan

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxSize bounds a plan file; the largest sensible one is a few kilobytes.
const maxSize = 1 << 20

// Parse decodes a plan of one lock, fills in defaults, expands environment variables in
// secrets and validates. Every mistake is an *Error.
func Parse(data []byte) (*Plan, error) {
	f, err := ParseFile(data)
	if err != nil {
		return nil, err
	}
	if f.Several {
		return nil, &Error{Msg: "the plan has several locks", Hint: "name one of them"}
	}
	return f.Locks[0], nil
}

func parse(root *yaml.Node) (*Plan, error) {
	if err := checkKeys(root, reflect.TypeFor[Plan]()); err != nil {
		return nil, err
	}
	var p Plan
	if err := root.Decode(&p); err != nil {
		return nil, explain(err)
	}
	if err := p.fill(); err != nil {
		return nil, err
	}
	if err := p.validate(); err != nil {
		return nil, err
	}
	return &p, nil
}

func (p *Plan) fill() error {
	if p.Lock.Purpose == "" {
		p.Lock.Purpose = Correctness
	}
	if p.Trials == 0 {
		p.Trials = DefaultTrials
	}
	if p.MeasureFor == 0 {
		p.MeasureFor = DefaultMeasureFor
	}
	p.Safety.fill()
	p.Clients.Observe.fill()
	if !p.Probes.Passive && len(p.Probes.Names) == 0 {
		p.Probes.All = true
	}
	if len(p.Nodes) == 0 {
		p.Nodes = []Node{{Name: "local", Roles: []Role{RoleClient}}}
	}
	for i := range p.Nodes {
		if len(p.Nodes[i].Agent) == 0 {
			p.Nodes[i].Agent = []string{"lockaudit-agent"}
		}
	}
	for name, h := range p.Hooks {
		if h.Timeout == 0 {
			h.Timeout = DefaultHookTimeout
		}
		p.Hooks[name] = h
	}
	secrets := []*string{&p.Lock.Username, &p.Lock.Password}
	if p.Resource != nil {
		secrets = append(secrets, &p.Resource.Username, &p.Resource.Password)
	}
	for _, s := range secrets {
		if err := expand(s); err != nil {
			return err
		}
	}
	for name, value := range p.Clients.Env {
		if err := expand(&value); err != nil {
			return err
		}
		p.Clients.Env[name] = value
	}
	for key, value := range p.Lock.Options {
		if s, ok := value.(string); ok && isSecret(key) {
			if err := expand(&s); err != nil {
				return err
			}
			p.Lock.Options[key] = s
		}
	}
	return nil
}

var envName = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$`)

// expand replaces a value that is exactly ${NAME}. A password may contain a
// dollar sign, so nothing else is touched.
func expand(s *string) error {
	m := envName.FindStringSubmatch(*s)
	if m == nil {
		return nil
	}
	value, ok := os.LookupEnv(m[1])
	if !ok {
		return &Error{Msg: fmt.Sprintf("environment variable %s is not set", m[1]), Hint: "export it, or write the value into the plan"}
	}
	*s = value
	return nil
}

// decoderLine is the place in a yaml error: "line 3: cannot …".
var decoderLine = regexp.MustCompile(`line (\d+): (.*)`)

// explain turns a decoder's error, which may have many lines, into the first of
// its complaints.
func explain(err error) error {
	var typed *yaml.TypeError
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	if errors.As(err, &typed) && len(typed.Errors) > 0 {
		msg = typed.Errors[0]
	}
	msg, _, _ = strings.Cut(msg, "\n")
	out := &Error{Msg: msg}
	if m := decoderLine.FindStringSubmatch(msg); m != nil {
		out.Line, _ = strconv.Atoi(m[1])
		out.Msg = m[2]
	}
	if m := wrongType.FindStringSubmatch(out.Msg); m != nil {
		if want := wanted[m[2]]; want != "" {
			out.Msg = fmt.Sprintf("%s is not %s", strconv.Quote(m[1]), want)
		}
	}
	return out
}

// wrongType is the decoder's complaint about a value, in words of Go.
var wrongType = regexp.MustCompile("^cannot unmarshal !!\\w+ `(.*)` into (\\S+)$")

// wanted says those types in words of a plan.
var wanted = map[string]string{
	"[]string": "a list, as in [a, b]",
	"int":      "a whole number",
	"bool":     "true or false",
	"uint64":   "a whole number from 1 on",
}
