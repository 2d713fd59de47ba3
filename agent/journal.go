package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/lockaudit/lockaudit/inject"
)

// journalVersion is the version of an entry's format.
const journalVersion = 1

// journal is the write-ahead journal: one file per fault, on disk before the
// fault is injected and removed only after a verified revert. What lies there at
// a start was left behind by a crash.
type journal struct {
	dir string
	// step is called between the steps; tests crash there.
	step func(name string)
}

// entry is one file of the journal.
type entry struct {
	Version int         `json:"version"`
	Plan    inject.Plan `json:"plan"`
}

func (j *journal) path(id string) string { return filepath.Join(j.dir, id+".json") }

// write returns once the entry would survive a crash of the machine.
func (j *journal) write(p inject.Plan) (err error) {
	j.step("before-write")
	b, err := json.Marshal(entry{journalVersion, p})
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	tmp := j.path(p.ID) + ".tmp"
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%w: %w", ErrJournal, err), remove(tmp), remove(j.path(p.ID)))
		}
	}()
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(tmp, j.path(p.ID)); err != nil {
		return err
	}
	if err = syncDir(j.dir); err != nil {
		return err
	}
	j.step("written")
	return nil
}

// remove forgets a fault whose revert was verified.
func (j *journal) remove(id string) error {
	if err := remove(j.path(id)); err != nil {
		return fmt.Errorf("remove from journal: %w", err)
	}
	if err := syncDir(j.dir); err != nil {
		return fmt.Errorf("remove from journal: %w", err)
	}
	j.step("removed")
	return nil
}

// leftover is a file found in the journal; err says why it could not be read.
type leftover struct {
	id   string
	path string
	plan inject.Plan
	err  error
}

// leftovers reads the journal in the order of the names. An unfinished write
// belongs to a fault that was never injected and is dropped.
func (j *journal) leftovers() ([]leftover, error) {
	files, err := os.ReadDir(j.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	var out []leftover
	for _, f := range files {
		path := filepath.Join(j.dir, f.Name())
		if strings.HasSuffix(f.Name(), ".json.tmp") {
			continue
		}
		l := leftover{path: path, id: strings.TrimSuffix(f.Name(), ".json")}
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // its agent has reverted it meanwhile
		}
		if err == nil {
			l.plan, err = decodeEntry(l.id, b)
		}
		l.err = err
		out = append(out, l)
	}
	sort.Slice(out, func(i, k int) bool { return out[i].path < out[k].path })
	return out, nil
}

// dropUnfinished removes what a crash before the rename left.
func (j *journal) dropUnfinished() error {
	unfinished, err := filepath.Glob(filepath.Join(j.dir, "*.json.tmp"))
	for _, path := range unfinished {
		err = errors.Join(err, remove(path))
	}
	return err
}

func decodeEntry(id string, b []byte) (inject.Plan, error) {
	var e entry
	if err := inject.DecodeStrict(b, &e); err != nil {
		return inject.Plan{}, fmt.Errorf("decode journal entry: %w", err)
	}
	switch {
	case e.Version != journalVersion:
		return inject.Plan{}, fmt.Errorf("decode journal entry: version %d, want %d", e.Version, journalVersion)
	case !validID.MatchString(e.Plan.ID) || e.Plan.ID != id:
		return inject.Plan{}, fmt.Errorf("decode journal entry: id %q in a file named %q", e.Plan.ID, id)
	case e.Plan.BootID == "":
		return inject.Plan{}, errors.New("decode journal entry: no boot id")
	}
	return e.Plan, nil
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
