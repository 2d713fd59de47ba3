package pause

import (
	"context"
	"fmt"
	"slices"

	"github.com/lockaudit/lockaudit/inject"
)

// member is a process as it was seen.
type member struct {
	inject.Process
	inject.Stat
	kids []int
}

// members returns the root and, with tree, its descendants, parents first.
func members(ctx context.Context, p Params, tree bool) ([]member, error) {
	out, err := visit(ctx, []int{p.PID}, tree)
	if err == nil && (len(out) == 0 || p.StartTime != 0 && p.StartTime != out[0].Process.StartTime) {
		err = fmt.Errorf("process %d: %w", p.PID, inject.ErrGone)
	}
	for level := out; err == nil && len(level) > 0; out = append(out, level...) {
		var kids []int
		for _, m := range level {
			kids = append(kids, m.kids...)
		}
		level, err = visit(ctx, kids, true)
	}
	return out, err
}

// mostWords is how many processes are described one by one: a plan travels from guard
// to agent to auditor, and into the journal, before anything is stopped.
const mostWords = 20

// words says what will be done to which processes: one by one to the first, and of the
// rest the pids.
func words(first []member, rest pidList, act string) []string {
	var out []string
	for _, m := range first {
		out = append(out, fmt.Sprintf("process %d (%s) started at tick %d%s", m.PID, m.Comm, m.Process.StartTime, act))
	}
	if len(rest) > 0 {
		out = append(out, fmt.Sprintf("and %d more processes%s: %v", len(rest), act, rest))
	}
	return out
}

// visit looks at processes, and at their children if so told, and leaves out those
// that have ended.
func visit(ctx context.Context, pids []int, kids bool) ([]member, error) {
	out := make([]member, len(pids))
	err := inject.Each(len(pids), func(i int) error {
		s, err := inject.ReadStat(pids[i])
		if notThere(err) || err == nil && s.Dead() {
			return nil
		}
		if err != nil {
			return err
		}
		m := member{Process: inject.Process{PID: pids[i], StartTime: s.StartTime}, Stat: s}
		if kids {
			m.kids, err = inject.ChildrenOf(ctx, m.PID, s)
		}
		out[i] = m
		return err
	})
	return slices.DeleteFunc(out, func(m member) bool { return m.PID == 0 }), err
}
