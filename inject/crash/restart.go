package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/lockaudit/lockaudit/inject"
)

// SearchPath is where a restart command without a slash is looked up: fixed,
// because a PATH from outside would choose what runs as root.
const SearchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// apply replaces what the order names.
func (im *image) apply(r Restart) (err error) {
	if len(r.Argv) == 0 || r.Argv[0] == "" {
		return fmt.Errorf("restart.argv is empty: %w", inject.ErrRefused)
	}
	im.Argv = r.Argv
	if im.Exe, err = executable(r.Argv[0]); err != nil {
		return fmt.Errorf("restart command: %w", err)
	}
	for _, v := range r.Env {
		if !variable().MatchString(v) {
			return fmt.Errorf("restart.env: %.40q is not NAME=value: %w", v, inject.ErrRefused)
		}
	}
	if len(r.Env) > 0 {
		im.Env = r.Env
	}
	if r.Dir != "" {
		im.Dir = r.Dir
	}
	if !filepath.IsAbs(im.Dir) || r.Log != "" && !filepath.IsAbs(r.Log) {
		return fmt.Errorf("restart.dir %q or restart.log %q is not an absolute path: %w", im.Dir, r.Log, inject.ErrRefused)
	}
	if r.Log != "" {
		im.Stdout, im.Stderr = r.Log, r.Log
	}
	if r.UID != nil {
		im.UID, im.Groups = *r.UID, nil
	}
	if r.GID != nil {
		im.GID = *r.GID
	}
	if (im.UID != uint32(os.Geteuid()) || im.GID != uint32(os.Getegid())) && !inject.MachineRoot() {
		return fmt.Errorf("restart as uid %d, gid %d: only root can: %w", im.UID, im.GID, inject.ErrUnsupported)
	}
	return nil
}

// executable finds a program: an absolute path, or a name in SearchPath.
func executable(name string) (string, error) {
	paths := []string{name}
	if !filepath.IsAbs(name) {
		if strings.Contains(name, "/") {
			return "", fmt.Errorf("find %q: neither an absolute path nor a name: %w", name, inject.ErrRefused)
		}
		paths = nil
		for _, dir := range filepath.SplitList(SearchPath) {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	for _, path := range paths {
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("find %q: no executable file, looked at %s: %w", name, strings.Join(paths, ", "), inject.ErrRefused)
}
