package systemdtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject/target"
)

const groupPrefix = "lockaudit-systemdtest-"

// NewGroup makes a cgroup (v2) of the test's own, which is removed with it. It also
// removes what tests that were killed have left: empty directories, once the kernel
// has ended the rest.
func NewGroup(t testing.TB) string {
	t.Helper()
	m, err := target.CgroupMount()
	if err != nil {
		t.Fatalf("find cgroup v2: %v", err)
	}
	old, err := filepath.Glob(filepath.Join(m.Dir, groupPrefix+"*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range old {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), groupPrefix), "-")
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, fs.ErrNotExist) {
			_ = removeGroup(dir) // another test may be doing the same
		}
	}
	dir, err := os.MkdirTemp(m.Dir, fmt.Sprintf("%s%d-", groupPrefix, os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeGroup(dir); err != nil {
			t.Errorf("remove cgroup: %v", err)
		}
	})
	return dir
}

// removeGroup removes a cgroup and those below it, once nothing lives in them.
func removeGroup(dir string) error {
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		var dirs []string
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		err = nil
		for i := range dirs {
			if e := syscall.Rmdir(dirs[len(dirs)-1-i]); e != nil && !errors.Is(e, syscall.ENOENT) {
				err = fmt.Errorf("%s: %w", dirs[len(dirs)-1-i], e)
			}
		}
		if err == nil {
			return nil
		}
	}
	return err
}
