package swimlane

import (
	"slices"
	"strings"

	"github.com/lockaudit/lockaudit/history"
)

type laneKind int

const (
	clientLane laneKind = iota
	serviceLane
	resourceLane
)

type lane struct {
	name, note string
	kind       laneKind
	// actor and node of a client.
	actor, node string
}

// lanesOf returns the clients in the order of their names, then the lock service,
// then the resource, as far as the events have them.
func lanesOf(events []history.Event) []lane {
	var clients []lane
	service, resource := false, false
	for _, e := range events {
		switch e.Op {
		case history.OpWrite, history.OpRead:
			resource = true
		case history.OpAcquire, history.OpRenew, history.OpRelease, history.OpObserve:
			service = true
		}
		if !ofClient(e) {
			continue
		}
		if !slices.ContainsFunc(clients, func(l lane) bool { return l.actor == e.Actor }) {
			clients = append(clients, lane{name: clientName(e.Actor), note: e.Node, actor: e.Actor, node: e.Node})
		}
	}
	slices.SortStableFunc(clients, func(x, y lane) int { return strings.Compare(x.actor, y.actor) })
	if service {
		clients = append(clients, lane{name: "lock service", kind: serviceLane})
	}
	if resource {
		clients = append(clients, lane{name: "resource", kind: resourceLane})
	}
	return clients
}

// ofClient: the event has a place in a client's lane. What the auditor, the agent and
// a third party do, and what was measured and read, has none.
func ofClient(e history.Event) bool {
	switch e.Op {
	case history.OpMeasure, history.OpSignal, history.OpStall:
		return false
	}
	return e.Actor != "probe" && e.Actor != "agent" && e.Actor != "observer"
}

// clientName is what a reader calls an actor: the scripts name their two "a" and "b".
func clientName(actor string) string {
	if len(actor) == 1 {
		return "client " + strings.ToUpper(actor)
	}
	return actor
}

// initial undoes clientName, for places with little room.
func initial(name string) string {
	short, _ := strings.CutPrefix(name, "client ")
	return short
}

// lane finds the lane of an actor, -1 if it has none.
func (s *scene) lane(actor string) int {
	return slices.IndexFunc(s.lanes, func(l lane) bool { return l.kind == clientLane && l.actor == actor })
}

// of finds the lane of a kind, -1 if there is none.
func (s *scene) of(kind laneKind) int {
	return slices.IndexFunc(s.lanes, func(l lane) bool { return l.kind == kind })
}

// hit lists the lanes that a fault disturbs: that of its target, or of every client
// on its node; a fault elsewhere hits the lock service.
func (s *scene) hit(f *history.Fault) []int {
	if at := s.lane(f.Target); at >= 0 {
		return []int{at}
	}
	var lanes []int
	for i, l := range s.lanes {
		if l.kind == clientLane && l.node != "" && l.node == f.Node {
			lanes = append(lanes, i)
		}
	}
	if at := s.of(serviceLane); len(lanes) == 0 && at >= 0 {
		lanes = append(lanes, at)
	}
	return lanes
}
