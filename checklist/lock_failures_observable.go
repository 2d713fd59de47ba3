package checklist

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

func lockFailuresObservable() Item {
	return Item{
		ID:       "lock_failures_observable",
		Question: "are lock acquisition failures observable and logged?",
		Why:      "A job that silently does not run because it did not get the lock looks exactly like one that had nothing to do.",
		Severity: Major,
		Probes:   []string{contend},
		Fix: map[string]string{
			"": "Count failed and timed-out acquisitions in a metric, log each with the key and the holder, and name both under signals in the plan. Client libraries for Redis ship no lock metrics: the application must have its own.",
		},
		Judge: judgeObservable,
	}
}

// judgeObservable: the client must be told definitely, and then an operator must
// be able to see it in what the plan names.
func judgeObservable(run record.Run) Finding {
	f, key := judgeTold(run)
	if f.Outcome == Fail || f.Trials.Shown == 0 || !run.Manifest.Subject.Signals {
		return f
	}
	var complete []trial
	for _, t := range trials(run, contend) {
		if t.complete {
			complete = append(complete, t)
		}
	}
	if len(complete) == 0 {
		f.Summary = "the client was told definitely; no trial came to its end, so metrics and log were not compared"
		return f
	}
	kinds := []kindVerdict{judgeKind(complete, history.KindMetrics, key), judgeKind(complete, history.KindLog, key)}
	return f.decide(kinds, run.Manifest.Subject, len(complete))
}

// decide puts metrics and log together. A built-in client is not the application,
// whose metrics and log then cannot tell of what was never its failure.
func (f Finding) decide(kinds []kindVerdict, subject record.Subject, n int) Finding {
	var words []string
	shown, silent, unknown, called := 0, 0, 0, true
	for _, k := range kinds {
		if k.state == notNamed {
			continue
		}
		words = append(words, k.words)
		if k.state == shows && len(k.series) > 0 && subject.Rules != "" {
			alert, found := alertWords(subject, k.series)
			words, called = append(words, alert), found
		}
		f.Evidence = append(f.Evidence, k.evidence...)
		switch k.state {
		case shows:
			shown++
		case isSilent:
			silent++
		default:
			unknown++
		}
	}
	f.Trials = Trials{Shown: n, Of: f.Trials.Of}
	switch {
	case unknown > 0 || shown+silent == 0:
		f.Outcome = Inconclusive
	case silent == 0 && called:
		f.Outcome = Pass
	case silent == 0:
		f.Outcome = Warn
	case subject.BuiltinClient:
		f.Outcome = Inconclusive
		words = append(words, "but the one that was refused is the built-in client, which they know nothing of: name the application's own under clients.exec")
	case shown == 0:
		f.Outcome = Fail
	default:
		f.Outcome = Warn
	}
	if metrics := kinds[0]; silent > 0 && metrics.state != shows {
		// Where to begin, for whoever finds out that there is nothing.
		f.Evidence = append(f.Evidence, Evidence{Text: usualWords(subject.Backend)})
	}
	f.Summary = strings.Join(words, "; ")
	if f.Summary == "" {
		f.Summary = "the client was told definitely; the metrics and log that the plan names were not read"
	}
	return f
}

// judgeTold: was B told definitely that it does not get the lock?
func judgeTold(run record.Run) (f Finding, key string) {
	all := trials(run, contend)
	f = Finding{Trials: Trials{Of: len(all)}, Summary: "B never tried to acquire while A held the lock"}
	for _, t := range all {
		// The last grant of A before B is refused: with signals A has acquired once
		// before, and B too.
		told, grant := t.refusedB()
		if grant == nil {
			continue
		}
		release := t.first(end(grant), "a", history.OpRelease)
		whileHeld := func(c history.Call) bool { return release == nil || c.Invoke.Seq < release.Invoke.Seq }
		tried := t.first(end(grant), "b", history.OpAcquire, whileHeld)
		switch {
		case tried == nil:
		case told == nil && !accepted(tried):
			if f.Outcome != Fail {
				f.Trials.Shown = 0
			}
			f.Outcome, f.Summary = Fail, "B did not get the lock and was never told so definitely"
			f.Evidence = append(t.cite(grant, ""), t.cite(tried, "A holds the lock")...)
			f.Trials.Shown++
		case told != nil && f.Outcome != Fail:
			key = told.Key()
			f.Summary = "the client was told definitely; the plan names no metrics or log to look for it"
			if run.Manifest.Subject.Signals {
				f.Summary = "the client was told definitely; the metrics and log that the plan names were not read"
			}
			f.Evidence = append(t.cite(grant, ""), t.cite(told, "A holds the lock")...)
			f.Trials.Shown++
		}
	}
	return f, key
}

// refusedB finds the grant of A during which B tried, and the first try of B that
// was refused meanwhile.
func (t trial) refusedB() (told, grant *history.Call) {
	next := func(after int) *history.Call { return t.first(after, "a", history.OpAcquire, granted) }
	// A damaged history may hold a completion that is older than its invoke.
	for g := next(0); g != nil; g = next(max(end(g), g.Invoke.Seq)) {
		release := t.first(end(g), "a", history.OpRelease)
		within := func(c history.Call) bool { return release == nil || c.Invoke.Seq < release.Invoke.Seq }
		if grant == nil || t.first(end(g), "b", history.OpAcquire, within) != nil {
			grant = g
		}
		if told = t.first(end(g), "b", history.OpAcquire, within, refused); told != nil {
			return told, g
		}
	}
	return nil, grant
}

type kindState int

const (
	notNamed kindState = iota
	notRead
	isSilent
	ambiguous
	shows
)

// kindVerdict is what the metrics, or the log, came to over all trials.
type kindVerdict struct {
	state    kindState
	words    string
	evidence []Evidence
	series   []string // all that tell, of metrics
}

// judgeKind wants the same series (or some line) in every trial: what moved once
// moved by coincidence.
func judgeKind(complete []trial, kind, key string) kindVerdict {
	var signs, maybe map[string]string
	last := showing{kind: kind}
	refusals := 0
	calm := calmOf(complete, kind)
	for i, t := range complete {
		s := t.show(kind, key, calm)
		if s.unread == "" && !s.readable {
			return kindVerdict{}
		}
		if i == 0 {
			signs, maybe = maps.Clone(s.signs), maps.Clone(s.maybe)
		}
		maps.DeleteFunc(signs, func(name, _ string) bool { return s.signs[name] == "" })
		maps.DeleteFunc(maybe, func(name, _ string) bool { return s.maybe[name] == "" })
		refusals += s.refused
		if s.unread == "" {
			s.unread = last.unread
		}
		last = s
	}
	switch {
	case len(signs) > 0:
		name := slices.Min(slices.Collect(maps.Keys(signs)))
		out := kindVerdict{state: shows, words: last.signs[name], evidence: last.evidence[name]}
		if kind == history.KindMetrics {
			out.series = slices.Sorted(maps.Keys(signs))
		}
		return out
	case last.unread != "":
		return kindVerdict{state: notRead, words: last.unread}
	case refusals == 0:
		return kindVerdict{state: notRead, words: "B was not refused while the " + kind + " was watched"}
	case len(maybe) > 0:
		name := slices.Min(slices.Collect(maps.Keys(maybe)))
		return kindVerdict{state: ambiguous, words: fmt.Sprintf("%s changed each time, and neither its name nor the amount ties it to the lock", last.maybe[name])}
	}
	evidence := complete[0].stillness(kind)
	return kindVerdict{state: isSilent, words: fmt.Sprintf("the %s told nothing of %d refused acquires", kind, refusals), evidence: evidence}
}
