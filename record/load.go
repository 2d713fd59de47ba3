package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/history"
)

// Why Load refuses.
var (
	// ErrNotRun: there is no manifest, so this is not a run directory.
	ErrNotRun = errors.New("not a run directory")
	// ErrNewerFormat: the run was written by a newer lockaudit.
	ErrNewerFormat = errors.New("written by a newer lockaudit; judge it with that version")
)

// Load reads a run directory. It keeps whatever can be read of a run that was cut
// off or damaged and lists in Run.Damage what is wrong. It refuses only what is not
// a run at all and what it might misread.
func Load(dir string) (Run, error) {
	data, err := os.ReadFile(filepath.Join(dir, manifestFile))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return Run{}, fmt.Errorf("load run %s: %w: no %s", dir, ErrNotRun, manifestFile)
	case err != nil:
		return Run{}, fmt.Errorf("load run: %w", err)
	}
	m, err := decodeManifest(data)
	if err != nil {
		return Run{}, fmt.Errorf("load run %s: %w", dir, err)
	}
	run := Run{Dir: dir, Manifest: m, Histories: map[string][]history.Event{}}
	run.loadFacts()
	run.loadHistories()
	run.checkFiles()
	return run, nil
}

// decodeManifest looks at the format first: everything else of a newer one may
// mean something else. Fields that this version does not know are ignored.
func decodeManifest(data []byte) (Manifest, error) {
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return Manifest{}, fmt.Errorf("%w: decode %s: %w", ErrNotRun, manifestFile, err)
	}
	if version.Format > Format {
		return Manifest{}, fmt.Errorf("format %d: %w", version.Format, ErrNewerFormat)
	}
	if version.Format < 1 {
		return Manifest{}, fmt.Errorf("%w: %s has no format", ErrNotRun, manifestFile)
	}
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return Manifest{}, fmt.Errorf("decode %s: %w", manifestFile, err)
	}
	return m, nil
}

func decodeFacts(data []byte) (*facts.Deployment, error) {
	var d *facts.Deployment
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, fmt.Errorf("decode %s: %w", factsFile, err)
	}
	return d, nil
}

func (r *Run) damage(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	r.Damage = append(r.Damage, strings.ReplaceAll(line, "\n", " "))
}

// loadFacts leaves Facts nil if inspection never finished, which is no damage.
func (r *Run) loadFacts() {
	data, err := os.ReadFile(filepath.Join(r.Dir, factsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		r.Facts, err = decodeFacts(data)
	}
	if err != nil {
		r.damage("%s: %v", factsFile, err)
	}
}

func (r *Run) loadHistories() {
	entries, err := os.ReadDir(filepath.Join(r.Dir, historyDir))
	if err != nil {
		r.damage("%s: %v", historyDir, err)
		return
	}
	for _, entry := range entries {
		probe, ok := strings.CutSuffix(entry.Name(), lineExt)
		if !ok || !entry.Type().IsRegular() {
			continue
		}
		r.loadHistory(probe)
	}
}

func (r *Run) loadHistory(probe string) {
	name := historyDir + "/" + probe + lineExt
	data, err := os.ReadFile(filepath.Join(r.Dir, historyDir, probe+lineExt))
	if err != nil {
		r.damage("%s: %v", name, err)
		return
	}
	events, torn, err := history.Decode(bytes.NewReader(data))
	if err != nil {
		r.damage("%s: %v; read %d events before it", name, err, len(events))
	}
	if torn {
		r.damage("%s: the last line is torn; read %d events before it", name, len(events))
	}
	if err := history.Validate(events); err != nil {
		r.damage("%s: %v", name, err)
	}
	r.Histories[probe] = events
}

// checkFiles compares the files with the hashes of the manifest. A run that was
// never sealed has none, which the manifest's status says already.
func (r *Run) checkFiles() {
	if r.Manifest.Status == Running || r.Manifest.Status == "" {
		r.damage("%s: the run was cut off and never sealed", manifestFile)
		return
	}
	if len(r.Manifest.Files) == 0 {
		r.damage("%s: no hashes, so changed files cannot be told", manifestFile)
		return
	}
	sums, err := hashFiles(r.Dir)
	if err != nil {
		r.damage("%v", err)
	}
	for _, name := range sortedKeys(r.Manifest.Files) {
		switch sum, ok := sums[name]; {
		case !ok:
			r.damage("%s: missing", name)
		case sum != r.Manifest.Files[name]:
			r.damage("%s: changed since the run was sealed", name)
		}
	}
	for _, name := range sortedKeys(sums) {
		if _, ok := r.Manifest.Files[name]; !ok {
			r.damage("%s: added since the run was sealed", name)
		}
	}
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
