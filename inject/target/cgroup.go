package target

import (
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

const errNoProcess = unix.ESRCH

// cgroupsOf returns the paths of a process's cgroups, by the hierarchy's
// controllers: "" is cgroup v2, "name=systemd" and "memory" are of v1.
func cgroupsOf(pid int) (map[string]string, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return nil, notThere(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			return nil, fmt.Errorf("parse cgroup of process %d: %q", pid, line)
		}
		// The kernel says so of a cgroup that was removed under a dying process.
		out[f[1]] = strings.TrimSuffix(f[2], " (deleted)")
	}
	return out, nil
}

// CgroupOf is a process's cgroup v2 path, "" without one.
func CgroupOf(pid int) (string, error) {
	groups, err := cgroupsOf(pid)
	return groups[""], err
}

// place notes what the cgroups say about where a process runs.
func (c *candidate) place(groups map[string]string) {
	c.Cgroup = groups[""]
	for _, controllers := range []string{"", "name=systemd"} {
		if unit, group := unitOf(groups[controllers]); unit != "" {
			c.Unit = unit
			if controllers == "" {
				c.Group = group
			}
			break
		}
	}
	c.Container = containerOf(groups)
	if _, group := containerIn(groups[""], c.Container); c.Container != "" && group != "" {
		c.Group = group
	}
}

// unitOf finds the system manager's unit in a cgroup path, and the path of the
// unit itself: the first service or scope. What lies below belongs to the unit,
// such as a user's own manager and its services.
func unitOf(cgroup string) (unit, group string) {
	for at := 0; at < len(cgroup); {
		end := strings.IndexByte(cgroup[at+1:], '/')
		if end < 0 {
			end = len(cgroup)
		} else {
			end += at + 1
		}
		if name := cgroup[at+1 : end]; validUnit().MatchString(name) {
			return name, cgroup[:end]
		}
		at = end
	}
	return "", ""
}

// containerPart is one part of a cgroup path that is a container: docker, cri-o,
// podman and containerd under systemd (docker-ID.scope), or ID alone under
// cgroupfs. What watches over a container (crio-conmon-ID.scope) is not in it.
var containerPart = inject.Pattern(`^(?:(?:docker|cri-containerd|nerdctl|libpod|crio)-)?([0-9a-f]{64})(?:\.scope)?$`)

// containerIn finds a container whose id begins so in a cgroup path, and the path
// of the container itself.
func containerIn(cgroup, prefix string) (id, group string) {
	at := ""
	for _, part := range strings.Split(strings.TrimPrefix(cgroup, "/"), "/") {
		at = path.Join(at, "/", part)
		if m := containerPart().FindStringSubmatch(part); m != nil && strings.HasPrefix(m[1], prefix) {
			return m[1], at
		}
	}
	return "", ""
}

// containerOf finds the outermost container of a process, in whichever hierarchy
// its runtime uses.
func containerOf(groups map[string]string) string {
	for _, cgroup := range groups {
		if id, _ := containerIn(cgroup, ""); id != "" {
			return id
		}
	}
	return ""
}
