package target

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// Mount is where cgroup v2 is mounted.
type Mount struct {
	// Dir is the directory, Root the cgroup that is seen there, as /proc/PID/cgroup
	// names it: usually "/".
	Dir, Root string
}

// CgroupMount finds cgroup v2, which is not at /sys/fs/cgroup where v1 is in use
// too, among this process's mounts.
func CgroupMount() (Mount, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Mount{}, fmt.Errorf("find cgroup v2: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		before, after, ok := strings.Cut(line, " - ")
		f := strings.Fields(before)
		if !ok || len(f) < 5 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		m := Mount{Dir: unescape(f[4]), Root: unescape(f[3])}
		// Another mount may lie over it, and one made outside a cgroup namespace has
		// a root that cannot be named inside.
		var fs unix.Statfs_t
		if strings.HasPrefix(m.Root, "/..") || unix.Statfs(m.Dir, &fs) != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
			continue
		}
		return m, nil
	}
	return Mount{}, fmt.Errorf("find cgroup v2: it is not mounted: %w", inject.ErrUnsupported)
}

// Path is the directory of a cgroup as /proc/PID/cgroup names it.
func (m Mount) Path(cgroup string) (string, error) {
	rel, err := filepath.Rel(m.Root, cgroup)
	if err != nil || !filepath.IsAbs(cgroup) || rel == ".." || strings.HasPrefix(rel, "../") || strings.HasPrefix(cgroup, "/..") {
		return "", fmt.Errorf("cgroup %q is not below %s, which is mounted at %s: %w", cgroup, m.Root, m.Dir, inject.ErrRefused)
	}
	return filepath.Join(m.Dir, rel), nil
}

// unescape undoes the kernel's octal escapes of blanks in mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
