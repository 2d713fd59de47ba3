package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/inject"
)

// TestStateDirectoryOfOthers: a directory that others may write to is refused,
// and neither its mode nor its content is changed.
func TestStateDirectoryOfOthers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shared")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil { // past the umask
		t.Fatal(err)
	}
	lock, err := lockState(dir, 0)
	if err == nil {
		lock.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "others may write") {
		t.Errorf("err = %v, want a refusal", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("in it now: %v, %v", left, err)
	}
	st, err := os.Stat(dir)
	if err != nil || st.Mode().Perm() != 0o777 {
		t.Errorf("mode is now %v, %v", st.Mode(), err)
	}
}

// TestStateDirectoryOfAnother: what its owner writes into the journal there, root would carry
// out.
func TestStateDirectoryOfAnother(t *testing.T) {
	if !inject.MachineRoot() {
		return // nobody else has a directory to give away
	}
	dir := filepath.Join(t.TempDir(), "another's")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	lock, err := lockState(dir, 0)
	if err == nil {
		lock.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "belongs to uid 65534") {
		t.Errorf("err = %v, want a refusal", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("in it now: %v, %v", left, err)
	}
}
