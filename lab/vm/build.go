package vm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// Build makes a static binary of a package of this project in dir and returns its
// path.
func Build(dir, pkg string) (string, error) {
	out := filepath.Join(dir, filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, "github.com/lockaudit/lockaudit/"+pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", pkg, err, b)
	}
	return out, nil
}

// buildGuest makes the init once in the life of this process.
var buildGuest = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "lockaudit-guest-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file, err := Build(dir, "lab/vm/guest")
	if err != nil {
		return nil, err
	}
	return os.ReadFile(file)
})
