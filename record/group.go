package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// groupFile makes a directory the record of several locks.
const groupFile = "locks.json"

// ErrNotGroup: there is no locks.json, so this is not the record of several locks.
var ErrNotGroup = errors.New("not a record of several locks")

// Group is the audit of the locks of one plan file, one after another. Each has a run
// directory of its own within the group's.
type Group struct {
	Format   int       `json:"format"`
	ID       string    `json:"id"`
	Name     string    `json:"name"` // of the plan file
	Tool     string    `json:"tool"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished,omitzero"`
	Locks    []Member  `json:"locks"`

	dir string
}

// Member is one lock of a group.
type Member struct {
	Name  string `json:"name"`
	Owner Owner  `json:"owner,omitzero"`
	// Run is the name of the run directory within the group's; "" where none was made.
	Run string `json:"run,omitempty"`
	// Err says why the audit of this lock could not be carried out, or was not begun.
	Err string `json:"err,omitempty"`
}

// NotReached is the Err of a lock whose turn never came.
const NotReached = "the audit ended before it came to this lock"

// CreateGroup makes runsDir/<UTC time>-<name>/ with none of the locks audited yet.
func CreateGroup(runsDir, name, tool string, locks []Member) (*Group, error) {
	start := time.Now().UTC().Round(0)
	dir, err := makeDir(runsDir, start.Format("2006-01-02T150405Z")+"-"+sanitise(name))
	if err != nil {
		return nil, fmt.Errorf("create record of several locks: %w", err)
	}
	g := &Group{Format: Format, ID: filepath.Base(dir), Name: name, Tool: tool, Started: start, dir: dir}
	for _, m := range locks {
		m.Err = NotReached
		g.Locks = append(g.Locks, m)
	}
	if err := g.write(); err != nil {
		return nil, errors.Join(fmt.Errorf("create record of several locks: %w", err), os.RemoveAll(dir))
	}
	return g, nil
}

// Dir is the group's directory.
func (g *Group) Dir() string { return g.dir }

// Audited notes the run of the lock at an index, and why it could not be carried out.
func (g *Group) Audited(i int, dir string, cause error) error {
	m := &g.Locks[i]
	m.Run, m.Err = "", ""
	if dir != "" {
		m.Run = filepath.Base(dir)
	}
	if cause != nil {
		m.Err = cause.Error()
	}
	return g.write()
}

// Seal notes the end.
func (g *Group) Seal() error {
	g.Finished = time.Now().UTC().Round(0)
	return g.write()
}

func (g *Group) write() error { return replaceJSON(filepath.Join(g.dir, groupFile), g) }

// LoadGroup reads the record of several locks; each of its runs is loaded by Load.
func LoadGroup(dir string) (*Group, error) {
	data, err := os.ReadFile(filepath.Join(dir, groupFile))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil, fmt.Errorf("load record %s: %w: no %s", dir, ErrNotGroup, groupFile)
	case err != nil:
		return nil, fmt.Errorf("load record: %w", err)
	}
	g := &Group{dir: dir}
	if err := json.Unmarshal(data, g); err != nil {
		return nil, fmt.Errorf("load record %s: decode %s: %w", dir, groupFile, err)
	}
	switch {
	case g.Format > Format:
		return nil, fmt.Errorf("load record %s: format %d: %w", dir, g.Format, ErrNewerFormat)
	case g.Format < 1:
		return nil, fmt.Errorf("load record %s: %w: %s has no format", dir, ErrNotGroup, groupFile)
	}
	for _, m := range g.Locks {
		// A record may come from somewhere else: its runs lie within it.
		if m.Run != "" && (m.Run != filepath.Base(m.Run) || m.Run == "." || m.Run == "..") {
			return nil, fmt.Errorf("load record %s: run %q of lock %s is not within it", dir, m.Run, m.Name)
		}
	}
	return g, nil
}
