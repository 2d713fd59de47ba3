package target

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// Mount is where cgroup v2 is mounted.
type Mount struct {
	// Dir is the directory, Root the cgroup that is seen there, as /proc/PID/cgroup
	// names it: usually "/".
	Dir, Root string
}

// lastMount is what the last search has found.
var lastMount atomic.Pointer[Mount]

// CgroupMount finds cgroup v2, which is not at /sys/fs/cgroup where v1 is in use
// too, among this process's mounts. As long as it is there it is not searched again: a
// node with containers has thousands of mounts.
func CgroupMount() (Mount, error) {
	if m := lastMount.Load(); m != nil && isCgroup2(m.Dir) {
		return *m, nil
	}
	m, err := findMount()
	if err == nil {
		lastMount.Store(&m)
	}
	return m, err
}

func isCgroup2(dir string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(dir, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}

func findMount() (Mount, error) {
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
		if strings.HasPrefix(m.Root, "/..") || !isCgroup2(m.Dir) {
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
