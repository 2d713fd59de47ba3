package agent

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"github.com/lockaudit/lockaudit/inject"
)

// Versions of the order protocol that this program speaks, on either end. A version
// only ever adds: what it adds is used once both ends have agreed on it, because an
// agent carries out no order with a field that it does not know. The greeting itself
// never changes.
//
//	1  the first
//	2  both ends notice the other's silence (ping); a node can be looked at (examine)
const (
	MinVersion = 1
	Version    = 2
)

// pings is the version from which on an auditor says that it is there.
const pings = 2

// Range is the versions that a program speaks.
type Range struct {
	Min int `json:"min"`
	Max int `json:"max"`
}

func (r Range) String() string {
	if r.Min == r.Max {
		return fmt.Sprintf("version %d", r.Max)
	}
	return fmt.Sprintf("versions %d to %d", r.Min, r.Max)
}

// ParseRange reads MIN-MAX; empty is the zero Range.
func ParseRange(s string) (Range, error) {
	var r Range
	if s == "" {
		return r, nil
	}
	if _, err := fmt.Sscanf(s, "%d-%d", &r.Min, &r.Max); err != nil || r.Min < 1 || r.Min > r.Max {
		return Range{}, fmt.Errorf("protocol %q: it is MIN-MAX", s)
	}
	return r, nil
}

// common is the newest version that both speak.
func (r Range) common(o Range) (int, bool) {
	v := min(r.Max, o.Max)
	return v, v >= max(r.Min, o.Min)
}

// spoken is what this program speaks, unless a test has it play another one.
func (r Range) spoken() Range {
	if r == (Range{}) {
		return Range{MinVersion, Version}
	}
	return r
}

// mismatch is an agent's refusal of a version.
type mismatch struct {
	agent  string // its program's version
	speaks Range
	asked  int
}

func (m *mismatch) Error() string {
	return fmt.Sprintf("this agent (%s) speaks %s of the protocol, not %d", m.agent, m.speaks, m.asked)
}

func (m *mismatch) Unwrap() []error { return []error{ErrVersion, inject.ErrRefused} }

// before is the refusal of an agent from before ranges were told.
var before = regexp.MustCompile(`^this agent \((.*)\) speaks version (\d+) of the protocol, not \d+`)

// refusal reads out of an agent's refusal what it speaks.
func refusal(err error) (m mismatch, ok bool) {
	var r *remote
	if !errors.As(err, &r) {
		return m, false
	}
	if errors.Is(err, ErrVersion) && r.speaks != nil {
		return mismatch{agent: r.agent, speaks: *r.speaks}, true
	}
	if parts := before.FindStringSubmatch(r.words); parts != nil {
		v, err := strconv.Atoi(parts[2])
		return mismatch{agent: parts[1], speaks: Range{v, v}}, err == nil
	}
	return m, false
}

// greet agrees with the agent on a version: the newest of ours is asked for, and if the
// agent refuses that, the newest of both. An older agent ends its orders at a field
// that it does not know, so that the greeting has none but the ones of version 1.
func (c *Conn) greet(ctx context.Context, o Command) (Hello, error) {
	ours := o.speaks.spoken()
	ask := func(version int) (Hello, error) {
		r, err := c.link.call(ctx, order{Op: opHello, Version: version, Caller: &o.Caller})
		if err == nil && r.Hello == nil {
			err = errors.New("no hello in the answer")
		}
		if err != nil {
			return Hello{}, err
		}
		return *r.Hello, nil
	}
	h, err := ask(ours.Max)
	theirs, refused := refusal(err)
	if !refused {
		return h, err
	}
	version, ok := ours.common(theirs.speaks)
	if !ok {
		return Hello{}, fmt.Errorf("%w: the agent there (%s) speaks %s, this program (%s) %s",
			ErrVersion, theirs.agent, theirs.speaks, o.Tool, ours)
	}
	return ask(version)
}
