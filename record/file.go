package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// Names of the files in a run directory.
const (
	manifestFile = "manifest.json"
	planFile     = "plan.yaml"
	factsFile    = "facts.json"
	historyDir   = "history"
	agentsDir    = "agents"
	clientsDir   = "clients"
	lineExt      = ".jsonl"
	logExt       = ".log"
)

// ErrName means that a probe, node or file name cannot be a file name.
var ErrName = errors.New("not a plain name")

// plain is what a name from outside may look like: no separators, no leading dot.
var plain = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

func checkName(name string) error {
	if !plain.MatchString(name) {
		return fmt.Errorf("%w: %q", ErrName, name)
	}
	return nil
}

// WriteFile puts a file into the run directory that is not part of the record and
// therefore not hashed (findings.json, report.*). It replaces an older one at
// once: a reader sees the old or the new content, never half of it.
func WriteFile(dir, name string, data []byte) error {
	if err := checkName(name); err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	return replace(filepath.Join(dir, name), data)
}

// replace writes a file beside its target, syncs it and renames it over the target.
func replace(path string, data []byte) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(tmp.Name()))
		}
	}()
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Chmod(0o644) // CreateTemp makes 0600, and a report is for the team
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

func replaceJSON(path string, v any) error {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encode %s: %w", filepath.Base(path), err)
	}
	return replace(path, out.Bytes())
}
