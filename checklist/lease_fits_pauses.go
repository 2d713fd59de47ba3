package checklist

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

const (
	measurePauses   = "measure-pauses"
	measureNetwork  = "measure-network"
	measureRenewals = "measure-renewals"
)

func leaseFitsPauses() Item {
	return Item{
		ID:       "lease_fits_pauses",
		Question: "does the lease outlast pauses and network, and end before the accepted takeover time?",
		Why:      "A lease shorter than the longest pause changes holders for nothing; one longer than the business can wait stops the work after a crash.",
		Severity: Major,
		Probes:   []string{measurePauses, measureNetwork, measureRenewals},
		Fix:      map[string]string{"": "Choose a TTL above the longest pause plus the tail of the round trip, and below the takeover time that the business accepts (lock.takeover in the plan); renew every third of it. Measure for longer (measure_for) and under the production load before trusting the numbers."},
		Judge:    judgeLease,
	}
}

// renewals is how many renewals fit into a lease: every third of it, as etcd's and
// DynamoDB's clients, Redisson and ShedLock do. The last one may have come that
// long before a pause begins, so a pause has only the rest of the lease.
const renewals = 3

// thin is the share of the budget above which a short measurement is no comfort.
const thin = 0.5

// judgeLease: longest pause + tail of the round trip < TTL − renew interval. Where the
// real lock was seen, its lease and its renewals count, not the plan's and a guess.
func judgeLease(run record.Run) Finding {
	if run.Manifest.Subject.Can(sessionBound) {
		return Finding{Outcome: NotApplicable, Summary: "the lock has no lease: it lasts as long as the service sees its holder's connection (see recovers_after_crash)"}
	}
	ttl := run.Manifest.Subject.TTL
	if ttl <= 0 {
		return Finding{Summary: "the record does not say how long the lease is"}
	}
	own := ownRenewals(run, ttl)
	ttl = own.lease
	budget := ttl - own.every
	pause, missing := worst(run, measurePauses, history.SamplePause)
	if missing != "" {
		return Finding{Summary: missing}
	}
	rtt, missing := worst(run, measureNetwork, history.SampleRTT)
	if missing != "" {
		return Finding{Summary: missing, Evidence: pause.evidence}
	}
	stop := ownStops(run)
	need := max(pause.longest, stop.longest) + rtt.longest
	f := Finding{Evidence: append(append(append(pause.evidence, stop.evidence...), rtt.evidence...), own.evidence...)}
	seen := fmt.Sprintf("longest pause %s in %s of measuring on %s, longest round trip %s",
		fine(pause.longest), Duration(pause.over), strings.Join(pause.nodes, " and "), fine(rtt.longest))
	if words := stop.words(); words != "" {
		seen += ", " + words
	}
	room := fmt.Sprintf("a lease of %s that is renewed %s leaves %s", Duration(ttl), own.words, Duration(budget))
	waits := nodeTimeout(run.Facts, ttl, rtt.longest)
	takeover := run.Manifest.Subject.Takeover
	switch {
	case takeover > 0 && ttl > takeover:
		f.Outcome = Fail
		f.Summary = fmt.Sprintf("the lease of %s is longer than the takeover time of %s that the plan accepts; %s", Duration(ttl), Duration(takeover), seen)
	case need >= ttl:
		f.Outcome = Fail
		f.Summary = fmt.Sprintf("the lease of %s does not outlast what was seen: %s", Duration(ttl), seen)
	case own.late != "":
		f.Outcome = Fail
		f.Summary = fmt.Sprintf("%s: one renewal that fails or is late ends the lease; %s", own.late, seen)
	case need >= budget:
		f.Outcome = Warn
		f.Summary = fmt.Sprintf("a pause as long as the one seen ends the lease if it comes just before a renewal: %s; %s", seen, room)
	case float64(need) > thin*float64(budget), float64(stop.throttled) > thin*float64(budget):
		f.Outcome = Warn
		f.Summary = fmt.Sprintf("little margin: %s; %s", seen, room)
	case own.differs != "":
		f.Outcome = Warn
		f.Summary = fmt.Sprintf("%s: the plan's is not the one to judge by; %s; %s", own.differs, seen, room)
	case waits != "":
		f.Outcome = Warn
		f.Summary = fmt.Sprintf("%s; %s; %s", waits, seen, room)
	default:
		f.Outcome = Pass
		f.Summary = fmt.Sprintf("%s; %s; %s", seen, room, stop.unseen())
	}
	if takeover == 0 && f.Outcome != Fail {
		f.Summary += "; the plan names no accepted takeover time"
	}
	return f
}

// extreme is the worst of the samples of one name.
type extreme struct {
	longest, over time.Duration
	nodes         []string
	evidence      []Evidence
}

// worst needs a sample with observations from every node that was asked; missing
// says why there is none. A sample of live connections may be empty: no
// application needs to be connected.
func worst(run record.Run, probe, name string) (x extreme, missing string) {
	events := run.Histories[probe]
	if len(events) == 0 {
		return extreme{}, "not measured: needs " + probe
	}
	measured := map[string]bool{}
	var asked []string
	for _, e := range events {
		if e.Op != history.OpMeasure {
			continue
		}
		if !slices.Contains(asked, e.Node) {
			asked = append(asked, e.Node)
		}
		s := e.Sample
		if e.Type == history.Info && missing == "" {
			missing = fmt.Sprintf("%s could not be measured on %s: %s", name, e.Node, e.Err)
		}
		if e.Type != history.OK || s == nil || s.Name != name || s.Unit != history.Nanoseconds {
			continue
		}
		if s.Count == 0 && s.Source != "tcp_info" && missing == "" {
			missing = fmt.Sprintf("nothing to measure on %s: %s", e.Node, strings.Join(s.Notes, "; "))
		}
		if s.Count == 0 {
			continue
		}
		measured[e.Node] = true
		x.longest = max(x.longest, time.Duration(s.Max))
		if x.over == 0 || s.Over > 0 && s.Over < x.over {
			x.over = s.Over
		}
		t := trial{probe: probe, number: e.Trial}
		x.evidence = append(x.evidence, t.quote(e, "")...)
	}
	for _, node := range asked {
		if !measured[node] && missing == "" {
			missing = fmt.Sprintf("%s was not measured on %s", name, node)
		}
	}
	if len(asked) == 0 && missing == "" {
		missing = "not measured: needs " + probe
	}
	slices.Sort(asked) // they answer in any order
	x.nodes = asked
	return x, missing
}

// fine keeps microseconds, which Duration has no use for.
func fine(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
	}
	return Duration(d)
}

func sampleWords(s *history.Sample) string {
	if s == nil {
		return "nothing"
	}
	text := s.Name
	if s.Peer != "" {
		text += " to " + s.Peer
	}
	if s.Source != "" {
		text += " (" + s.Source + ")"
	}
	if s.Count == 0 {
		text += ": no observation"
	} else {
		text += fmt.Sprintf(": median %s, p99 %s, longest %s of %d", fine(s.Quantile(0.5)), fine(s.Quantile(0.99)), fine(time.Duration(s.Max)), s.Count)
		if s.Over > 0 {
			text += " in " + Duration(s.Over)
		}
	}
	if len(s.Notes) > 0 {
		text += "; " + strings.Join(s.Notes, "; ")
	}
	return text
}
