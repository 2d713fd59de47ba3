package audit

import (
	"fmt"
	"slices"
	"time"

	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/probes"
)

// longest is the cap of a fault where the plan sets none.
const longest = time.Hour

// application fills in how the application is observed, if the plan says so.
func application(p *plan.Plan, to *probes.Params) {
	o := p.Clients.Observe
	if o == nil {
		return
	}
	to.Observe = &probes.Observe{
		TakeWithin: o.TakeWithin, MaxFault: p.Safety.MaxFault, AllowHarm: p.Safety.AllowHarm,
		// Elsewhere the fence is in the statement that the application itself sends.
		Canary: p.Resource != nil && p.Resource.Kind == "http",
	}
	if p.Safety.Allows(plan.AllowLongFaults) {
		to.Observe.MaxFault = longest
	}
	for _, n := range p.ClientNodes() {
		to.Observe.Nodes = append(to.Observe.Nodes, n.Name)
	}
	find := fmt.Sprintf("what it stored in the lock is matched with %s, which leads to a node of the plan", o.Owner)
	if o.Connection {
		find = "the lock service is asked for its connection, and the nodes whose socket that is"
	}
	process := o.Process
	switch {
	case !process.IsZero():
		find += "; there it is " + process.String()
	case o.Connection || !slices.Contains(groupsOf(o.Owner), plan.GroupPID):
		find += "; there it is the process that has this socket"
	default:
		find += "; there it is the pid that was matched, if it has a connection to the lock service"
	}
	to.Observe.Finds = find
	if e := o.Effects; e != nil {
		to.Observe.Effects = effectWords(*e)
	}
}

func effectWords(e plan.Effects) string {
	switch {
	case e.Log != "":
		return "the log " + e.Log + " on each client node"
	case e.Tap != "":
		return "the record of the tap, " + e.Tap + " on " + e.TapNode
	case e.SQL != "":
		return "the answer of the resource to the plan's query"
	}
	return "the page " + plan.RedactURL(e.HTTP)
}
