package target

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// inContainer finds a container's first process by the cgroup paths: no runtime
// has to be asked, and none needs to be known.
func inContainer(ctx context.Context, prefix string) ([]candidate, error) {
	byID := map[string][]candidate{}
	_, err := all(ctx, func(c candidate) bool {
		groups, err := cgroupsOf(c.PID)
		if err != nil {
			return false // it has ended meanwhile
		}
		for _, cgroup := range groups {
			if id, group := containerIn(cgroup, prefix); id != "" {
				c.Container = id
				if cgroup == groups[""] {
					c.Group = group
				}
				byID[id] = append(byID[id], c)
				return true
			}
		}
		return false
	})
	if err != nil {
		return nil, err
	}
	if len(byID) > 1 {
		ids := make([]string, 0, len(byID))
		for id, members := range byID {
			ids = append(ids, id+" with "+heads(members)[0].String())
		}
		slices.Sort(ids)
		return nil, fmt.Errorf("%d containers fit: %s: %w", len(ids), strings.Join(ids, "; "), ErrAmbiguous)
	}
	for _, members := range byID {
		return first(heads(members)), nil
	}
	return nil, nil
}

// heads are the members whose parents are outside: the first process, and those
// that were sent in later (docker exec).
func heads(members []candidate) []candidate {
	inside := map[int]bool{}
	for _, m := range members {
		inside[m.PID] = true
	}
	out := slices.DeleteFunc(slices.Clone(members), func(m candidate) bool { return inside[m.ppid] })
	if len(out) == 0 { // a parent that ended between two looks
		return members
	}
	return out
}

// first is the head that is pid 1 of the container, if one is.
func first(heads []candidate) []candidate {
	for _, h := range heads {
		if initOfNamespace(h.PID) {
			return []candidate{h}
		}
	}
	return heads
}

// initOfNamespace reports that the process is pid 1 of a pid namespace below ours.
func initOfNamespace(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "NSpid:" {
			return f[len(f)-1] == "1"
		}
	}
	return false
}
