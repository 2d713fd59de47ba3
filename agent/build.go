package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"runtime"
)

// Build is what a program says of itself: which one is it that a command runs?
type Build struct {
	Version  string `json:"version"`
	Protocol Range  `json:"protocol"`
	Arch     string `json:"arch"` // as Go names it
	SHA256   string `json:"sha256"`
}

// ThisBuild is the running program, by its own bytes: a name may lead to another by now.
func ThisBuild(version string, speaks Range) (Build, error) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return Build{}, fmt.Errorf("read own program: %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return Build{}, fmt.Errorf("read own program: %w", err)
	}
	return Build{version, speaks.spoken(), runtime.GOARCH, hex.EncodeToString(sum.Sum(nil))}, nil
}
