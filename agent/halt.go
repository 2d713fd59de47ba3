package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/lockaudit/lockaudit/agent/trail"
	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// Halt says who halted a node, when and why. As long as its marker lies there,
// nothing is injected on the node.
type Halt struct {
	At     time.Time `json:"at"`
	Who    trail.Who `json:"who"`
	Reason string    `json:"reason,omitempty"`
}

func (h Halt) String() string {
	s := fmt.Sprintf("halted at %s by %s", h.At.Format(time.RFC3339), h.Who)
	if h.Reason != "" {
		s += ": " + h.Reason
	}
	return s
}

// haltFile is the marker's name.
const haltFile = "halted"

// markers are the places of the marker. The first one outlives a reboot: a halt
// never expires. The second is for a node whose disk takes no more files.
func markers(stateDir string) []string {
	list := []string{filepath.Join(lasting(stateDir), haltFile)}
	if here := filepath.Join(stateDir, haltFile); here != list[0] {
		list = append(list, here)
	}
	return list
}

// Halted returns the halt of a node, or nil. A marker that cannot be read halts.
func Halted(stateDir string) *Halt {
	for _, path := range markers(stateDir) {
		if unix.Faccessat(unix.AT_FDCWD, path, unix.F_OK, 0) == unix.ENOENT {
			continue // the quick way, for every order looks
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		var h Halt
		if err == nil {
			err = inject.DecodeStrict(b, &h)
		}
		if err != nil {
			return &Halt{Reason: fmt.Sprintf("nobody knows why: read %s: %v", path, err)}
		}
		return &h
	}
	return nil
}

// mark puts the marker there, for good. Who was first stays named.
func mark(stateDir string, h Halt) error {
	b, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("write halt marker: %w", err)
	}
	var errs []error
	for _, path := range markers(stateDir) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			errs = append(errs, err)
			continue
		}
		err := markAt(path, append(b, '\n'))
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("write halt marker: %w", errors.Join(errs...))
}

// markAt makes the whole file appear at once, and leaves one that is there alone.
func markAt(path string, content []byte) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), haltFile+".tmp-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// unmark takes every marker away; was is false if there was none.
func unmark(stateDir string) (was bool, err error) {
	for _, path := range markers(stateDir) {
		e := os.Remove(path)
		if errors.Is(e, os.ErrNotExist) {
			continue
		}
		was = true
		if e == nil {
			e = syncDir(filepath.Dir(path))
		}
		err = errors.Join(err, e)
	}
	if err != nil {
		err = fmt.Errorf("remove halt marker: %w", err)
	}
	return was, err
}
