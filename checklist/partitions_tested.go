package checklist

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

func partitionsTested() Item {
	return Item{
		ID:       "partitions_tested",
		Question: "were partition scenarios tested, and survived?",
		Why:      "Partitions decide whether a lock is granted on both sides, and they are the case that nobody tries by hand.",
		Severity: Major,
		Probes:   []string{cutHolder, partServers, isolateLeader, doubleExecution, loseNode},
		Fix: map[string]string{
			"etcd":     "Read the timeline of the scenario that failed. Where the lock itself was granted once, the resource has to refuse the old holder's token; where it was granted on both sides, the clients do not all talk to one cluster.",
			"nats":     "Three copies grant on the side of the majority only, once a leader is there, which takes 4 to 9 s. What a partition of the holder does to the data only the resource decides.",
			"postgres": "One PostgreSQL has no other side. Where a failover tool may promote a standby, let it need a majority, cut the old primary off first (a watchdog), and fence at the resource.",
			"redlock":  "A majority of the servers grants on one side at most; what a partition of the holder does to the data only the resource can stop: fence there.",
			"redis":    "One Redis has no other side, and two that both answer are two locks: use a service that needs a majority to grant, and fence at the resource.",
			"":         "Use a lock service that needs a majority to grant, fence at the resource, and run the partition probes before each change of either.",
		},
		Judge: judgePartitions,
	}
}

// scenario is one partition that was really in effect, and how it ended.
type scenario struct {
	name     string
	shape    string // of the servers, with who was granted the lock; "" for a holder's cut
	bad      string // what went wrong; empty if nothing did
	harm     bool
	evidence []Evidence
}

func (s scenario) title() string {
	if s.shape == "" {
		return s.name
	}
	return s.name + ", " + s.shape
}

// judgePartitions passes if A was cut off as a holder and, where the service has
// several servers, these were parted in every shape that was begun; and if none of
// that ended in two holders or an accepted stale write.
func judgePartitions(run record.Run) Finding {
	holder, missing := holderScenarios(run)
	servers, gap := serverScenarios(run)
	all := slices.Concat(holder, servers)
	f := Finding{Trials: Trials{Of: len(trials(run, cutHolder)) + len(trials(run, partServers))}}
	for _, s := range all {
		if s.bad != "" && f.Outcome != Fail {
			f.Outcome, f.Harm = Fail, s.harm
			f.Summary, f.Evidence = s.title()+": "+s.bad, s.evidence
		}
		if s.bad != "" {
			f.Trials.Shown++
		}
	}
	if f.Outcome == Fail {
		return f
	}
	f.Trials.Shown = len(all)
	for _, s := range all {
		f.Evidence = append(f.Evidence, s.evidence...)
	}
	switch {
	case len(holder) == 0:
		f.Summary = missing
	case gap != "" && severalServers(run):
		f.Summary = fmt.Sprintf("survived: %s; between the lock servers not tested: %s", scenarioNames(all), gap)
	default:
		f.Outcome = Pass
		f.Summary = fmt.Sprintf("tested on %s and survived: %s", run.Manifest.Started.UTC().Format("2006-01-02"), scenarioNames(all))
	}
	return f
}

// parted names the scenarios in which the servers lose each other.
const parted = "lock servers parted"

// scenarioNames lists each scenario once, with the shapes that it took.
func scenarioNames(all []scenario) string {
	var names []string
	shapes := map[string][]string{}
	for _, s := range all {
		if !slices.Contains(names, s.name) {
			names = append(names, s.name)
		}
		if s.shape != "" && !slices.Contains(shapes[s.name], s.shape) {
			shapes[s.name] = append(shapes[s.name], s.shape)
		}
	}
	for i, name := range names {
		if list := shapes[name]; len(list) > 0 {
			names[i] += ": " + strings.Join(list, ", ")
		}
	}
	return strings.Join(names, "; ")
}

// holderScenarios are the trials in which A was cut off while it held.
func holderScenarios(run record.Run) (shown []scenario, missing string) {
	missing = "needs " + cutHolder
	for _, s := range allSteps(run, cutHolder, cutOff()) {
		reason, isDanger := s.danger()
		e := s.effect()
		one := scenario{name: "holder cut off from the lock service", evidence: s.timeline(staleNote(s, e))}
		switch {
		case e == harmed || e == inverted:
			one.bad, one.harm = "the resource accepted A's stale write", true
		case e == lockedOut:
			one.bad = "the rightful holder B was refused as well as A"
		case !isDanger:
			missing = reason
			continue
		case !s.complete:
			missing = "the trial was not carried to its end"
			continue
		}
		shown = append(shown, one)
	}
	return shown, missing
}

// serverScenarios are the shapes in which the lock servers were parted.
func serverScenarios(run record.Run) (shown []scenario, gap string) {
	all := trials(run, partServers)
	if len(all) == 0 {
		return nil, notRun(run, partServers)
	}
	gaps := map[string]string{} // by shape; one that was repeated may have been shown since
	for _, t := range all {
		name, evidence, reason := t.parted()
		one := scenario{name: parted, shape: fmt.Sprintf("%s (granted to %s)", name, t.winner()), evidence: evidence}
		found := history.DoubleGrants(t.events, holdOptions(run))
		switch {
		case len(found) > 0:
			one.bad, one.harm = "the lock was granted on both sides", true
			for _, seq := range found[0].Seqs() {
				one.evidence = append(one.evidence, t.quote(t.event(seq), "")...)
			}
		case reason != "":
			gaps[name] = reason
			continue
		}
		delete(gaps, name)
		shown = append(shown, one)
	}
	for _, name := range slices.Sorted(maps.Keys(gaps)) {
		gap = name + ": " + gaps[name]
	}
	return shown, gap
}

// parted reads one trial of partition-lock-servers: the shape, the evidence that
// links were really broken and that both sides asked, or the reason why not.
func (t trial) parted() (shape string, evidence []Evidence, missing string) {
	var begun *history.Event
	for i, e := range t.events {
		if e.Op == history.OpStep && e.Case != "" {
			begun, shape = &t.events[i], e.Case
			break
		}
	}
	if begun == nil {
		return "no shape", nil, "the servers were never parted"
	}
	evidence = t.quote(*begun, "")
	if missing := t.broken(); missing != "" {
		return shape, evidence, missing
	}
	// The attempts of the parted sides, not those before or after.
	last := t.lastInject()
	for _, actor := range []string{"a", "b"} {
		tried := t.first(last, actor, history.OpAcquire)
		if tried == nil {
			return shape, evidence, strings.ToUpper(actor) + " never asked for the lock"
		}
		if got := t.first(last, actor, history.OpAcquire, granted); got != nil {
			tried = got
		}
		evidence = append(evidence, t.cite(tried, "")...)
	}
	if !t.complete {
		return shape, evidence, "the trial was not carried to its end"
	}
	return shape, evidence, ""
}

// winner is who was granted the lock while the trial's faults were in effect.
func (t trial) winner() string {
	var got []string
	for _, actor := range []string{"a", "b"} {
		if t.first(t.lastInject(), actor, history.OpAcquire, granted) != nil {
			got = append(got, strings.ToUpper(actor))
		}
	}
	if len(got) == 0 {
		return "neither side"
	}
	return strings.Join(got, " and ")
}

// broken says why the trial's partitions, taken together, do not count: one of
// them was not confirmed, or they lost nothing.
func (t trial) broken() (missing string) {
	lost, cuts := 0, 0
	for i, c := range t.calls {
		switch c.Invoke.Op {
		case history.OpInject:
			if !ok(c) {
				return "a partition was never confirmed"
			}
			cuts++
		case history.OpRevert:
			lost += dropped(&t.calls[i])
		}
	}
	switch {
	case cuts == 0:
		return "no partition was in effect"
	case lost == 0:
		return "the partition lost no packet"
	}
	return ""
}

// lastInject is the Seq after which every fault of the trial was in effect.
func (t trial) lastInject() int {
	last := 0
	for _, c := range t.calls {
		if c.Invoke.Op == history.OpInject {
			last = max(last, end(&c))
		}
	}
	return last
}

// event is the event with that number; a trial's numbers have gaps.
func (t trial) event(seq int) history.Event {
	for _, e := range t.events {
		if e.Seq == seq {
			return e
		}
	}
	return history.Event{Seq: seq}
}

// partedShapes names the shapes that were shown.
func partedShapes(run record.Run) []string {
	var out []string
	for _, t := range trials(run, partServers) {
		if shape, _, missing := t.parted(); missing == "" && !slices.Contains(out, shape) {
			out = append(out, shape)
		}
	}
	return out
}

// notRun says why a probe left no record.
func notRun(run record.Run, probe string) string {
	for _, p := range run.Manifest.Probes {
		if p.Name == probe && p.Err != "" {
			return p.Err
		}
	}
	return "needs " + probe
}

// severalServers: the lock service has a network between its servers.
func severalServers(run record.Run) bool {
	return run.Facts == nil || run.Facts.Voters > 1 || len(run.Facts.Members) > 1 || run.Facts.Replicas > 0
}
