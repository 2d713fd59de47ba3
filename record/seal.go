package record

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Seal ends the run: it closes what is open, hashes every file of the record and
// writes the final manifest. cause, if any, says why the run did not complete. It
// does as much as it can and joins the errors; a second Seal returns ErrSealed and
// changes nothing.
func (w *Writer) Seal(status Status, cause error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sealed {
		return fmt.Errorf("seal run: %w", ErrSealed)
	}
	w.sealed = true
	var errs []error
	for _, c := range w.open {
		errs = append(errs, c.Close())
	}
	files, err := hashFiles(w.dir)
	errs = append(errs, err)
	w.manifest.Files = files
	w.manifest.Status = status
	w.manifest.Finished = w.manifest.Started.Add(w.Now())
	if cause != nil {
		w.manifest.Err = cause.Error()
	}
	errs = append(errs, w.writeManifest())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("seal run: %w", err)
	}
	return nil
}

// hashFiles maps the path of every file of the record to its SHA-256 in hex.
func hashFiles(dir string) (map[string]string, error) {
	sums := map[string]string{}
	root := os.DirFS(dir)
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || !recorded(name) {
			return err
		}
		sum, err := hashFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		sums[name] = sum
		return nil
	})
	if err != nil {
		return sums, fmt.Errorf("hash files: %w", err)
	}
	return sums, nil
}

// recorded reports whether a file is part of the record. The manifest holds the
// hashes itself; findings and reports are written later, and again by every judge.
func recorded(name string) bool {
	switch {
	case name == planFile, name == factsFile:
		return true
	case path.Dir(name) == historyDir, path.Dir(name) == agentsDir:
		return strings.HasSuffix(name, lineExt)
	case path.Dir(name) == clientsDir:
		return strings.HasSuffix(name, logExt)
	}
	return false
}

func hashFile(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
