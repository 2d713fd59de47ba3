package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"strings"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/measure"
	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/probes"
	"github.com/lockaudit/lockaudit/tap"
)

// effects reads the lines in which an application's writes show.
type effects struct {
	marks map[string]string   // of logs, by node
	known map[string]int      // how often a line was on the page
	asked bool                // the page was read once
	nodes map[string]instance // by the words of a clue: whose writes they are
	met   map[string]instance // those that held the lock, by node: the latest of each
}

// line of a source, and the node that it is from, if it tells.
type effectLine struct{ node, text string }

// Effects implements probes.Witness.
func (s *stage) Effects(ctx context.Context) ([]probes.Effect, error) {
	e := s.plan.Clients.Observe.Effects
	lines, err := s.effectLines(ctx, *e)
	if err != nil {
		return nil, fmt.Errorf("read effects: %w", err)
	}
	var out []probes.Effect
	for _, l := range lines {
		x, c, ok := readEffect(*e, l)
		if !ok {
			continue
		}
		if i, err := s.whose(ctx, c, l); err == nil {
			x.Instance = i.ID()
		} else if !errors.Is(err, probes.ErrSkip) {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

func (s *stage) effectLines(ctx context.Context, e plan.Effects) ([]effectLine, error) {
	switch {
	case e.Log != "":
		var out []effectLine
		for _, n := range s.plan.ClientNodes() {
			lines, err := s.newLines(ctx, n.Name, plan.At(e.Log, n.Name))
			if err != nil {
				return nil, err
			}
			for _, l := range lines {
				out = append(out, effectLine{n.Name, l})
			}
		}
		return out, nil
	case e.Tap != "":
		lines, err := s.newLines(ctx, e.TapNode, e.Tap)
		return withoutNode(lines), err
	}
	if e.SQL != "" {
		lines, err := s.query(ctx, e.SQL)
		return withoutNode(s.seen.fresh(lines)), err
	}
	var page measure.Page
	if err := s.measure(ctx, s.schedule.Params.NodeB, measure.KindFetch, measure.Fetch{URL: e.HTTP}, &page); err != nil {
		return nil, err
	}
	text, err := page.Text()
	if err != nil {
		return nil, err
	}
	return withoutNode(s.seen.fresh(strings.Split(string(text), "\n"))), nil
}

// query asks the resource by way of the observer.
func (s *stage) query(ctx context.Context, sql string) ([]string, error) {
	observer, _, err := s.Client(ctx, plan.Observer)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	r := observer.Conn().Do(ctx, clients.Request{Op: clients.OpQuery, Value: sql})
	if r.Type != history.OK || r.Answer == nil {
		return nil, fmt.Errorf("%w: %s %s", probes.ErrPremise, r.Code, r.Err)
	}
	return r.Answer.Lines, nil
}

func withoutNode(lines []string) []effectLine {
	var out []effectLine
	for _, l := range lines {
		out = append(out, effectLine{text: l})
	}
	return out
}

// newLines are what a file gained since the last look; the first look only marks its end.
func (s *stage) newLines(ctx context.Context, node, file string) ([]string, error) {
	var out measure.Lines
	key := node + ":" + file
	if err := s.measure(ctx, node, measure.KindLog, measure.Log{File: file, From: s.seen.marks[key]}, &out); err != nil {
		return nil, err
	}
	if out.Cut {
		return nil, fmt.Errorf("%s on %s grows faster than it can be read", file, node)
	}
	s.seen.marks[key] = out.Mark
	return out.Lines, nil
}

// fresh are the lines of a page that were not there at the last look.
func (e *effects) fresh(lines []string) []string {
	now := map[string]int{}
	var out []string
	for _, l := range lines {
		if l = strings.TrimSpace(l); l == "" {
			continue
		}
		if now[l]++; now[l] > e.known[l] && e.asked {
			out = append(out, l)
		}
	}
	e.known, e.asked = now, true
	return out
}

// readEffect reads a line; ok is false if it is not about a write.
func readEffect(e plan.Effects, l effectLine) (x probes.Effect, c clue, ok bool) {
	if e.Tap != "" {
		return readTapped(l.text)
	}
	groups, ok := match(e.Accepted, l.text)
	if !ok && e.Refused != "" {
		groups, ok = match(e.Refused, l.text)
		x.Refused = ok
	}
	x.Token, x.Text = tokenOf(groups[plan.GroupToken]), l.text
	return x, clue{groups: groups}, ok
}

// readTapped takes in what changes something: other requests are no effects.
func readTapped(line string) (x probes.Effect, c clue, ok bool) {
	var t tap.Line
	if err := json.Unmarshal([]byte(line), &t); err != nil || !t.Writes() || t.Refused || strings.Contains(t.Path, canaryScope) {
		return x, c, false // nothing was written, or by this audit
	}
	x = probes.Effect{Refused: t.Status/100 == 4, Token: tokenOf(t.Token), Seq: t.Seq, Text: t.Method + " " + t.Path}
	if t.Status/100 != 2 && !x.Refused {
		return x, c, false // nobody knows
	}
	from, err := netip.ParseAddrPort(t.From)
	if err != nil {
		return x, c, false
	}
	return x, clue{groups: map[string]string{plan.GroupAddr: from.Addr().Unmap().String()}}, true
}

// tokenOf is a fencing token as it was sent: ordered if it is a number.
func tokenOf(wire string) history.Token {
	const most = 64
	t := history.Token{ID: wire}
	if wire == "" || len(wire) > most || strings.Trim(wire, "0123456789") != "" {
		return t
	}
	t.Order, _ = new(big.Int).SetString(wire, 10)
	return t
}

// whose write it was. Of a line that tells no more than the node, the instance there that
// has held the lock is meant.
func (s *stage) whose(ctx context.Context, c clue, l effectLine) (instance, error) {
	if l.node != "" {
		if c.groups == nil {
			c.groups = map[string]string{}
		}
		c.groups[plan.GroupNode] = l.node
	}
	if _, pid := c.groups[plan.GroupPID]; !pid && s.plan.Clients.Observe.Process.IsZero() {
		node, _, err := s.nodeBy(ctx, c)
		if err != nil {
			return instance{}, err
		}
		if i, ok := s.seen.met[node]; ok {
			return i, nil
		}
		return instance{}, fmt.Errorf("%w: nobody on %s has held the lock", probes.ErrSkip, node)
	}
	key := c.String()
	if i, ok := s.seen.nodes[key]; ok {
		if alive, err := i.Alive(ctx); err != nil || alive {
			return i, err
		}
	}
	i, err := s.follow(ctx, c)
	if err == nil {
		s.seen.nodes[key] = i
	}
	return i, err
}
