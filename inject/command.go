package inject

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// SearchPath is where a command of an order is looked up if it has no slash:
// fixed, because a PATH from outside would choose what runs as root.
const SearchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// FindProgram returns the path of an executable file: of an absolute path, or of a
// name in SearchPath.
func FindProgram(name string) (string, error) {
	paths := []string{name}
	if !filepath.IsAbs(name) {
		if name == "" || strings.Contains(name, "/") {
			return "", fmt.Errorf("find program %q: neither an absolute path nor a name: %w", name, ErrRefused)
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
	return "", fmt.Errorf("find program %q: no executable file, looked at %s: %w", name, strings.Join(paths, ", "), ErrRefused)
}

var variable = Pattern(`^[A-Za-z_][A-Za-z0-9_.]*=`)

// CheckEnv refuses what is no NAME=value.
func CheckEnv(env []string) error {
	for _, v := range env {
		if !variable().MatchString(v) || strings.Contains(v, "\x00") {
			return fmt.Errorf("%.40q is not NAME=value: %w", v, ErrRefused)
		}
	}
	return nil
}
