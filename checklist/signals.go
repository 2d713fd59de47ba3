package checklist

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/history"
)

// showing is what one kind of source (metrics, log) made of B's refusals.
type showing struct {
	kind string
	// signs are what tells of the refusals in this trial, in words, by name: the
	// series, or anyLine.
	signs    map[string]string
	maybe    map[string]string // changed only then, and nothing ties it to the lock
	unread   string            // a source that could not be read, and why
	readable bool              // at least one source was read in both windows
	refused  int               // how many acquires failed meanwhile
	evidence map[string][]Evidence
}

// anyLine stands for the lines of a log: each refusal may be worded in its own way.
const anyLine = "log"

// calmOf collects what changes at each source of a kind while nobody is refused.
func calmOf(all []trial, kind string) map[string]*calm {
	out := map[string]*calm{}
	for _, t := range all {
		for _, c := range t.calls {
			if !ok(c) || c.Invoke.Op != history.OpSignal || c.Done.Signal == nil || c.Done.Signal.Kind != kind || c.Done.Signal.Phase != history.PhaseQuiet {
				continue
			}
			source := c.Done.Signal.Source
			if out[source] == nil {
				out[source] = newCalm()
			}
			out[source].add(c.Done.Signal)
		}
	}
	return out
}

// show reads one trial's windows.
func (t trial) show(kind, key string, calm map[string]*calm) showing {
	out := showing{kind: kind, signs: map[string]string{}, maybe: map[string]string{}, evidence: map[string][]Evidence{}}
	quiet := map[string]*history.Signal{}
	for _, c := range t.calls {
		if c.Invoke.Op != history.OpSignal || c.Invoke.Signal == nil || c.Invoke.Signal.Kind != kind {
			continue
		}
		source := c.Invoke.Signal.Source
		switch {
		case !ok(c) || c.Done.Signal == nil:
			why := "no answer recorded"
			if c.Done != nil && c.Done.Err != "" {
				why = c.Done.Err
			}
			out.unread = fmt.Sprintf("%s could not be read: %s", source, why)
		case c.Done.Signal.More > 0:
			out.unread = fmt.Sprintf("%s changes in more places than are kept", source)
		case c.Done.Signal.Phase == history.PhaseQuiet:
			quiet[source] = c.Done.Signal
		case quiet[source] == nil:
			// Without a quiet window nothing can be told apart; its failure has been noted.
		case quiet[source].Over*2 < c.Done.Signal.Over:
			out.unread = fmt.Sprintf("%s was watched for %s without refusals and for %s with them, which cannot be compared",
				source, Duration(quiet[source].Over), Duration(c.Done.Signal.Over))
		default:
			out.readable = true
			out.refused += c.Done.Signal.Refusals
			out.compare(t, calm[source], *c.Done, key)
		}
	}
	return out
}

func (s *showing) compare(t trial, c *calm, e history.Event, key string) {
	refused := e.Signal
	if refused.Refusals == 0 {
		return
	}
	add := func(about bool, name, words string) {
		if about {
			s.signs[name], s.evidence[name] = words, t.signal(e, words)
			return
		}
		s.maybe[name] = words
	}
	for _, m := range c.newMoves(refused) {
		words := fmt.Sprintf("%s %s → %s, %s after the first of %d refusals", m.Series, value(m.Before), value(m.After), Duration(m.Seen), refused.Refusals)
		add(tells(m, refused.Refusals), m.Series, words)
	}
	for _, l := range c.newLines(refused) {
		if _, have := s.signs[anyLine]; have {
			break
		}
		words := fmt.Sprintf("the line %q in %s, %s after the first of %d refusals", cut(l.Text), refused.Source, Duration(l.Seen), refused.Refusals)
		add(speaksOf(l, key), anyLine, words)
	}
}

// stillNamed is how many of the series that stood still are named.
const stillNamed = 3

// stillness cites, for each source of a kind, what it did while acquires were
// refused: which series stood still, or that a log gained no line of its own.
func (t trial) stillness(kind string) []Evidence {
	var out []Evidence
	for _, c := range t.calls {
		if !ok(c) || c.Done.Signal == nil || c.Done.Signal.Kind != kind || c.Done.Signal.Phase != history.PhaseRefused {
			continue
		}
		s := c.Done.Signal
		words := fmt.Sprintf("%d refused acquires in %s, and %s gained no line", s.Refusals, Duration(s.Over), s.Source)
		switch {
		case kind == history.KindMetrics:
			words = fmt.Sprintf("%d refused acquires in %s, and of the %d series of %s none moved that stands still otherwise%s",
				s.Refusals, Duration(s.Over), s.Series, s.Source, stoodStill(s.Still))
		case len(s.Lines) > 0:
			words = fmt.Sprintf("%d refused acquires in %s, and %s gained only lines as it does without them: %q",
				s.Refusals, Duration(s.Over), s.Source, cut(s.Lines[0].Text))
		}
		out = append(out, Evidence{Probe: t.probe, Trial: t.number, Seq: c.Done.Seq, At: c.Done.At, Actor: c.Done.Actor, Text: words})
	}
	return out
}

// stoodStill names some of the series that did not change, those of a lock first.
func stoodStill(series []string) string {
	if len(series) == 0 {
		return ""
	}
	var locks, others []string
	for _, name := range series {
		if namesLock(name) {
			locks = append(locks, name)
		} else if !ofRuntime.MatchString(name) {
			others = append(others, name)
		}
	}
	named := append(locks, others...)
	named = named[:min(len(named), stillNamed)]
	if len(named) == 0 {
		return ""
	}
	return "; among those that stood still: " + strings.Join(named, ", ")
}

func (t trial) signal(e history.Event, words string) []Evidence {
	return []Evidence{{Probe: t.probe, Trial: t.number, Seq: e.Seq, At: e.At, Actor: e.Actor, Text: words + " (and not while nobody was refused)"}}
}

func value(v float64) string { return strconv.FormatFloat(v, 'g', 12, 64) }

// cut keeps a line readable in a report.
func cut(line string) string {
	const most = 160
	if r := []rune(line); len(r) > most {
		return string(r[:most]) + "…"
	}
	return line
}
