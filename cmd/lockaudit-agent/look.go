package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/lockaudit/lockaudit/agent"
)

// look answers questions about this node until its input ends.
func (n node) look(ctx context.Context) int {
	limits, err := agent.LimitsFromEnv()
	if err != nil {
		return fail(n.log, err)
	}
	return fail(n.log, agent.Look(ctx, n.in, n.out, agent.LookOptions{
		Version: version, StateDir: n.dir, Limits: limits.Tighten(n.limits), Faults: n.faults, Speaks: n.speaks,
	}))
}

// version says which program this is.
func (n node) version(asJSON bool) int {
	if !asJSON {
		fmt.Fprintln(n.out, version)
		return 0
	}
	b, err := agent.ThisBuild(version, n.speaks)
	if err != nil {
		return fail(n.log, err)
	}
	return fail(n.log, json.NewEncoder(n.out).Encode(b))
}
