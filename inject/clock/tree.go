package clock

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/inject"
)

// member is a process of the tree as Prepare saw it.
type member struct {
	inject.Process
	inject.Stat
}

// members returns the root and, with tree, its descendants, parents first.
func members(ctx context.Context, root inject.Process, tree bool) ([]member, error) {
	s, err := inject.ReadStat(root.PID)
	if err == nil && (s.Dead() || s.StartTime != root.StartTime) {
		err = fmt.Errorf("process %d: %w", root.PID, inject.ErrGone)
	}
	if err != nil {
		return nil, err
	}
	out := []member{{root, s}}
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

// statusField reads a number from /proc/PID/status.
func statusField(pid int, name string) (ok bool, value int) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return false, 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == name {
			n, err := strconv.Atoi(f[1])
			return err == nil, n
		}
	}
	return false, 0
}
