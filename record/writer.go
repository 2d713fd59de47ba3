package record

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/facts"
)

// ErrSealed means that the run is over and takes no more records.
var ErrSealed = errors.New("run is sealed")

// Writer fills a run directory while the audit acts. Its methods may be called by
// several goroutines.
type Writer struct {
	dir   string
	start time.Time // carries Go's monotonic reading, which is CLOCK_MONOTONIC on Linux

	mu       sync.Mutex
	manifest Manifest
	open     []io.Closer
	sealed   bool
}

// Create makes runsDir/<UTC time>-<name>/ with the plan and a manifest that says
// running. It fills in Format, ID, Started and Status. The directory is new: an
// earlier run is never written over.
//
// The plan is written as given, so the caller has taken the secrets out.
func Create(runsDir string, m Manifest, planYAML []byte) (*Writer, error) {
	start := time.Now()
	dir, err := makeDir(runsDir, start.UTC().Format("2006-01-02T150405Z")+"-"+sanitise(m.Subject.Name))
	if err != nil {
		return nil, fmt.Errorf("create run: %w", err)
	}
	m.Format = Format
	m.ID = filepath.Base(dir)
	m.Started = start.UTC().Round(0)
	m.Finished = time.Time{}
	m.Status = Running
	m.Files = nil
	w := &Writer{dir: dir, start: start, manifest: m}
	if err := w.fill(planYAML); err != nil {
		// Nothing was recorded yet, and the directory is our own and new.
		return nil, errors.Join(fmt.Errorf("create run: %w", err), os.RemoveAll(dir))
	}
	return w, nil
}

func (w *Writer) fill(planYAML []byte) error {
	for _, sub := range []string{historyDir, agentsDir} {
		if err := os.Mkdir(filepath.Join(w.dir, sub), 0o755); err != nil {
			return err
		}
	}
	if err := replace(filepath.Join(w.dir, planFile), planYAML); err != nil {
		return err
	}
	return w.writeManifest()
}

// makeDir makes a directory that did not exist: name, name-2, name-3, …
func makeDir(parent, name string) (string, error) {
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	const attempts = 1000 // runs of one name within one second
	for n := 1; n <= attempts; n++ {
		dir := filepath.Join(parent, name)
		if n > 1 {
			dir += fmt.Sprintf("-%d", n)
		}
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			return dir, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("%d runs named %s exist already", attempts, name)
}

// sanitise makes a file name out of a plan's name.
func sanitise(name string) string {
	mapped := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_':
			return r
		}
		return '-'
	}, name)
	const longest = 80 // file names end at 255 bytes, and people read them
	mapped = strings.Trim(mapped[:min(len(mapped), longest)], "-.")
	if mapped == "" {
		return "run"
	}
	return mapped
}

// Dir is the path of the run directory.
func (w *Writer) Dir() string { return w.dir }

// Start is the instant from which Now counts.
func (w *Writer) Start() time.Time { return w.start }

// Now is the time since the start of the run on CLOCK_MONOTONIC, the axis of all
// events. It never goes back and is never 0.
func (w *Writer) Now() time.Duration { return max(time.Since(w.start), 1) }

// Manifest returns a copy of the manifest as it stands.
func (w *Writer) Manifest() Manifest {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.manifest
	m.Probes = slices.Clone(m.Probes)
	m.Residue = slices.Clone(m.Residue)
	return m
}

// Update changes the manifest and rewrites its file at once. If the file cannot be
// written the change stays in memory, for the next Update or Seal to write.
func (w *Writer) Update(change func(*Manifest)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sealed {
		return fmt.Errorf("update manifest: %w", ErrSealed)
	}
	change(&w.manifest)
	return w.writeManifest()
}

func (w *Writer) writeManifest() error {
	return replaceJSON(filepath.Join(w.dir, manifestFile), w.manifest)
}

// SetFacts writes what inspection found.
func (w *Writer) SetFacts(d facts.Deployment) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sealed {
		return fmt.Errorf("set facts: %w", ErrSealed)
	}
	return replaceJSON(filepath.Join(w.dir, factsFile), d)
}

// ClientLog keeps what a lock client has logged. The caller has taken secrets out.
func (w *Writer) ClientLog(name string, log []byte) error {
	if err := checkName(name); err != nil {
		return fmt.Errorf("keep client log: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sealed {
		return fmt.Errorf("keep client log: %w", ErrSealed)
	}
	dir := filepath.Join(w.dir, clientsDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("keep client log: %w", err)
	}
	return replace(filepath.Join(dir, name+logExt), log)
}
