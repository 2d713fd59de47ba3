package checklist

import (
	"fmt"
	"strings"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// outage is a trial in which lock servers were killed while A held the lock.
type outage struct {
	trial
	aGrant *history.Call
	killed []killed
}

// killed is one server: when it was killed, and when it was seen to run again.
type killed struct {
	node     string
	down, up *history.Call // up is nil if nobody saw it
}

// serverCrash is the kind of the fault.
const serverCrash = "crash"

// outages are the trials of a probe in which A was granted the lock and a server
// was killed after that.
func outages(run record.Run, probe string) []outage {
	var out []outage
	for _, t := range trials(run, probe) {
		o := outage{trial: t, aGrant: t.first(0, "a", history.OpAcquire, granted)}
		if o.aGrant == nil {
			continue
		}
		for i, c := range t.calls {
			if c.Invoke.Op != history.OpInject || c.Invoke.Seq <= end(o.aGrant) || !ok(c) || c.Done.Fault == nil || c.Done.Fault.Kind != serverCrash {
				continue
			}
			k := killed{node: c.Done.Fault.Node, down: &t.calls[i]}
			k.up = t.first(c.Done.Seq, c.Invoke.Actor, history.OpRevert, ok, func(up history.Call) bool {
				return up.Invoke.Fault != nil && up.Invoke.Fault.ID == c.Done.Fault.ID
			})
			o.killed = append(o.killed, k)
		}
		if len(o.killed) > 0 {
			out = append(out, o)
		}
	}
	return out
}

// forgotten cites a server whose death made the service forget A's lock: B, whom it
// had refused before, was granted it within A's lease.
func forgotten(run record.Run) (node string, evidence []Evidence) {
	for _, probe := range []string{crashPrimary, restartServer} {
		for _, o := range outages(run, probe) {
			for _, d := range history.DoubleGrants(o.events, holdOptions(run)) {
				var last *killed
				for i, k := range o.killed {
					if d.First.Acquired < k.down.Invoke.Seq && k.down.Done.Seq < d.Second.Acquired {
						last = &o.killed[i]
					}
				}
				if last == nil {
					continue
				}
				before := o.first(d.First.Acquired, d.Second.Actor, history.OpAcquire, held)
				if before == nil || before.Done.Seq > last.down.Invoke.Seq {
					continue // two clients of two stores: nobody has forgotten anything
				}
				first, second := o.event(d.First.Acquired), o.event(d.Second.Acquired)
				evidence = append(o.quote(first, ""), o.cite(before, "")...)
				evidence = append(evidence, o.cite(last.down, "")...)
				return last.node, append(evidence, o.quote(second, "within A's lease")...)
			}
		}
	}
	return "", nil
}

// kept cites a trial in which a server was killed and B was refused the lock that A
// still held.
func kept(run record.Run, probe string) (nodes []string, evidence []Evidence) {
	for _, o := range outages(run, probe) {
		if !o.complete {
			continue
		}
		nodes, evidence = nil, o.cite(o.aGrant, "")
		for _, k := range o.killed {
			no := o.first(k.down.Done.Seq, "b", history.OpAcquire, held)
			if no == nil || !o.holds("a", *no.Done, holdOptions(run)) {
				continue
			}
			nodes = append(nodes, k.node)
			evidence = append(append(evidence, o.cite(k.down, "")...), o.cite(no, "A holds it still")...)
		}
		if len(nodes) > 0 {
			return nodes, evidence
		}
	}
	return nil, nil
}

// restarted cites a trial in which every lock server was killed and started again
// between a grant to A and a later one to B. want is how many servers there are.
func restarted(run record.Run, want int) (seen int, evidence []Evidence) {
	for _, o := range outages(run, restartServer) {
		nodes := map[string]bool{}
		cited, last := o.cite(o.aGrant, ""), 0
		for _, k := range o.killed {
			if k.up == nil {
				continue
			}
			nodes[k.node] = true
			last = end(k.up)
			cited = append(cited, o.cite(k.up, "killed and started again")...)
		}
		after := o.first(last, "b", history.OpAcquire, granted)
		if len(nodes) == 0 || after == nil || !o.complete {
			continue
		}
		seen = max(seen, len(nodes))
		if want > 0 && len(nodes) >= want {
			return len(nodes), append(cited, o.cite(after, "after the restarts")...)
		}
	}
	return seen, nil
}

// held: it was refused because somebody else holds the lock.
func held(c history.Call) bool { return refused(c) && c.Done.Code == history.CodeHeld }

// holds reports whether an actor certainly held the lock when an event happened.
func (o outage) holds(actor string, e history.Event, options history.Options) bool {
	for _, h := range history.Holds(o.events, options) {
		if h.Actor == actor && h.Kind == history.Certain && h.From <= e.At && e.At < h.To {
			return true
		}
	}
	return false
}

func holdOptions(run record.Run) history.Options {
	return history.Options{OwnerCheck: run.Manifest.Subject.Can(ownerCheck), SessionBound: run.Manifest.Subject.Can(sessionBound)}
}

// servers is how many lock servers there are; 0: not known.
func servers(run record.Run) int {
	if run.Facts == nil {
		return 0
	}
	ids := map[string]bool{}
	for _, m := range run.Facts.Members {
		id := m.ID
		if id == "" {
			id = m.Endpoint
		}
		ids[id] = true
	}
	return max(run.Facts.Voters, len(ids))
}

// survived says in words which deaths of servers the lock was seen to survive.
func survived(run record.Run) (words string, evidence []Evidence) {
	if nodes, cited := kept(run, crashPrimary); len(nodes) > 0 {
		words += "; the lock was kept when the leader " + nodes[0] + " was killed"
		evidence = append(evidence, cited...)
	}
	if nodes, cited := kept(run, restartServer); len(nodes) > 0 {
		words += fmt.Sprintf("; the lock was kept through a restart of %s", strings.Join(nodes, ", "))
		evidence = append(evidence, cited...)
	}
	return words, evidence
}
