package probes

import "fmt"

// onResource explains a probe that is skipped where the plan names no resource: a dry
// run must not list faults that no audit of this plan would inject.
func onResource(explain func(Params) []string) func(Params) []string {
	return func(p Params) []string {
		if !p.HasResource {
			return []string{"nothing: the plan names no resource to write to"}
		}
		return explain(p)
	}
}

// fewServers is what a probe that parts the lock servers says of a plan with too few of
// them, or "".
func fewServers(p Params, least int) string {
	if len(p.LockNodes) >= least {
		return ""
	}
	return fmt.Sprintf("nothing: the plan has agents on %d nodes of the lock service, at least %d are needed", len(p.LockNodes), least)
}
