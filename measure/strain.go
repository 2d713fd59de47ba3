package measure

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// strain is what the kernel counts about this process's share of the CPU: its
// cgroup's quota and the node's pressure. What a kernel does not have stays nil.
type strain struct {
	throttle *throttle
	pressure *time.Duration // PSI: time in which some task waited for a CPU
}

// throttle is a cgroup's cpu.stat.
type throttle struct {
	group     string
	periods   uint64
	throttled uint64
	time      time.Duration
}

func readStrain() strain {
	var s strain
	if cgroups, err := os.ReadFile("/proc/self/cgroup"); err == nil {
		s.throttle = findThrottle(string(cgroups), "/sys/fs/cgroup")
	}
	if psi, err := os.ReadFile("/proc/pressure/cpu"); err == nil {
		s.pressure = parsePressure(string(psi))
	}
	return s
}

// notes tells in words what happened between two looks.
func notes(a, b strain) []string {
	var out []string
	switch {
	case a.throttle == nil || b.throttle == nil:
		out = append(out, "cgroup: no cpu.stat with a quota's counters to read")
	case b.throttle.periods == 0:
		out = append(out, fmt.Sprintf("cgroup %s: no CPU quota", b.throttle.group))
	default:
		out = append(out, fmt.Sprintf("cgroup %s: throttled in %d of %d periods, for %s", b.throttle.group,
			b.throttle.throttled-a.throttle.throttled, b.throttle.periods-a.throttle.periods,
			(b.throttle.time-a.throttle.time).Round(time.Millisecond)))
	}
	if a.pressure == nil || b.pressure == nil {
		return append(out, "PSI: this kernel does not count CPU pressure")
	}
	return append(out, fmt.Sprintf("PSI: some task waited for a CPU for %s", (*b.pressure-*a.pressure).Round(time.Millisecond)))
}

// findThrottle reads cpu.stat of the first of the process's groups that has a quota, or,
// if none has, that could: version 1's cpu controller, version 2's only hierarchy. A parent's
// quota throttles its children too, so the way up is searched. Inside a container
// the path may lie outside of what is mounted; the mount's root is then the
// container's own group.
func findThrottle(cgroups, root string) *throttle {
	var none *throttle // a group that counts, and has had no period: it has no quota
	for line := range strings.Lines(cgroups) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3) // hierarchy:controllers:path
		if len(parts) != 3 {
			continue
		}
		var mounts []string
		switch controllers := strings.Split(parts[1], ","); {
		case parts[0] == "0":
			mounts = []string{root, filepath.Join(root, "unified")}
		case contains(controllers, "cpu"):
			mounts = []string{filepath.Join(root, parts[1]), filepath.Join(root, "cpu")}
		default:
			continue
		}
		for _, mount := range mounts {
			for path := filepath.Clean("/" + parts[2]); ; path = filepath.Dir(path) {
				if stat, err := os.ReadFile(filepath.Join(mount, path, "cpu.stat")); err == nil {
					if t := parseThrottle(string(stat)); t != nil {
						t.group = path
						if t.periods > 0 {
							return t
						}
						if none == nil {
							none = t
						}
					}
				}
				if path == "/" {
					break
				}
			}
		}
	}
	return none
}

func contains(list []string, word string) bool {
	for _, w := range list {
		if w == word {
			return true
		}
	}
	return false
}

// parseThrottle reads cpu.stat of either version: throttled_time is in
// nanoseconds (v1), throttled_usec in microseconds (v2). A group without a quota
// has no nr_periods (v2).
func parseThrottle(stat string) *throttle {
	var t throttle
	counted := false
	for line := range strings.Lines(stat) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			continue
		}
		switch key {
		case "nr_periods":
			t.periods, counted = n, true
		case "nr_throttled":
			t.throttled = n
		case "throttled_time":
			t.time = time.Duration(n)
		case "throttled_usec":
			t.time = time.Duration(n) * time.Microsecond
		}
	}
	if !counted {
		return nil
	}
	return &t
}

// parsePressure reads the total of the line "some avg10=… total=<µs>".
func parsePressure(psi string) *time.Duration {
	for line := range strings.Lines(psi) {
		if !strings.HasPrefix(line, "some ") {
			continue
		}
		_, total, found := strings.Cut(strings.TrimSpace(line), "total=")
		n, err := strconv.ParseUint(total, 10, 64)
		if !found || err != nil {
			return nil
		}
		d := time.Duration(n) * time.Microsecond
		return &d
	}
	return nil
}

// runDelay is how long this thread was ready and did not run, 0 where the kernel
// does not count: the second field of schedstat, in nanoseconds.
func runDelay() time.Duration {
	b, err := os.ReadFile("/proc/thread-self/schedstat")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	n, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(n)
}
