package pause

import (
	"context"
	"fmt"

	"github.com/lockaudit/lockaudit/inject"
)

// member is a process of the tree as Prepare saw it.
type member struct {
	inject.Process
	inject.Stat
}

// members returns the root and, with tree, its descendants, parents first.
func members(ctx context.Context, p Params, tree bool) ([]member, error) {
	s, err := inject.ReadStat(p.PID)
	if err == nil && (s.Dead() || p.StartTime != 0 && p.StartTime != s.StartTime) {
		err = fmt.Errorf("process %d: %w", p.PID, inject.ErrGone)
	}
	if err != nil {
		return nil, err
	}
	out := []member{{inject.Process{PID: p.PID, StartTime: s.StartTime}, s}}
	for i := 0; tree && i < len(out); i++ {
		kids, err := inject.Children(ctx, out[i].PID)
		if err != nil {
			return nil, err
		}
		for _, pid := range kids {
			if s, err := inject.ReadStat(pid); err == nil && !s.Dead() {
				out = append(out, member{inject.Process{PID: pid, StartTime: s.StartTime}, s})
			}
		}
	}
	return out, nil
}
