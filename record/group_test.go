package record

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGroup(t *testing.T) {
	runs := t.TempDir()
	g, err := CreateGroup(runs, "shop", "v1", []Member{{Name: "billing", Owner: Owner{Team: "b"}}, {Name: "stock"}, {Name: "mail"}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := Create(g.Dir(), Manifest{Subject: Subject{Name: "billing"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Seal(Complete, nil), g.Audited(0, w.Dir(), nil), g.Audited(1, "", errors.New("no way"))); err != nil {
		t.Fatal(err)
	}
	// Read while it is going on, as after a crash.
	got, err := LoadGroup(g.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != "shop" || got.ID != filepath.Base(g.Dir()) || !got.Finished.IsZero() || got.Locks[0].Owner.Team != "b" ||
		got.Locks[1].Err != "no way" || got.Locks[2].Err != NotReached || got.Locks[2].Run != "" {
		t.Errorf("%+v", got)
	}
	if run, err := Load(filepath.Join(got.Dir(), got.Locks[0].Run)); err != nil || run.Manifest.Subject.Name != "billing" {
		t.Errorf("%v %+v", err, run.Manifest)
	}
	if err := g.Seal(); err != nil {
		t.Fatal(err)
	}
	if got, err = LoadGroup(g.Dir()); err != nil || got.Finished.IsZero() {
		t.Errorf("%v %+v", err, got)
	}
}

func TestLoadGroupRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadGroup(dir); !errors.Is(err, ErrNotGroup) {
		t.Errorf("an empty directory: %v", err)
	}
	for text, want := range map[string]string{
		`{"format": 99}`: "newer lockaudit",
		`{}`:             "has no format",
		`{`:              "decode locks.json",
		`{"format": 1, "locks": [{"name": "a", "run": "../other"}]}`: "not within it",
		`{"format": 1, "locks": [{"name": "a", "run": ".."}]}`:       "not within it",
	} {
		if err := os.WriteFile(filepath.Join(dir, groupFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadGroup(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
