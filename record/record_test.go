package record

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/history"
)

func create(t *testing.T) *Writer {
	t.Helper()
	w, err := Create(t.TempDir(), Manifest{Tool: "test", Subject: Subject{Name: "billing"}}, []byte("name: billing\n"))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func load(t *testing.T, dir string) Run {
	t.Helper()
	run, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// sealed is a small complete run.
func sealed(t *testing.T) string {
	t.Helper()
	w := create(t)
	log, err := w.History("contend")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := log.Append(history.Event{Actor: "a", Op: history.OpStep, Type: history.Info}); err != nil {
			t.Fatal(err)
		}
	}
	agent, err := w.Agent("app-a")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(agent, `{"op":"hello"}`)
	if err := w.SetFacts(facts.Deployment{Backend: "etcd", Voters: 3}); err != nil {
		t.Fatal(err)
	}
	if err := w.Seal(Complete, nil); err != nil {
		t.Fatal(err)
	}
	return w.Dir()
}

func TestRoundTrip(t *testing.T) {
	dir := sealed(t)
	run := load(t, dir)
	if len(run.Damage) > 0 {
		t.Errorf("damage in a whole run: %q", run.Damage)
	}
	m := run.Manifest
	if m.Format != Format || m.ID != filepath.Base(dir) || m.Status != Complete || !m.Finished.After(m.Started) {
		t.Errorf("manifest %+v", m)
	}
	if run.Facts == nil || run.Facts.Voters != 3 {
		t.Errorf("facts %+v", run.Facts)
	}
	if events := run.Histories["contend"]; len(events) != 3 || events[2].Seq != 3 || events[2].At <= 0 {
		t.Errorf("history %+v", events)
	}
	for _, name := range []string{"plan.yaml", "facts.json", "history/contend.jsonl", "agents/app-a.jsonl"} {
		if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(m.Files[name]) {
			t.Errorf("hash of %s: %q", name, m.Files[name])
		}
	}
	if err := WriteFile(dir, "findings.json", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if run := load(t, dir); len(run.Damage) > 0 {
		t.Errorf("findings count as damage: %q", run.Damage)
	}
}

func TestDirectoryIsNewAndNamed(t *testing.T) {
	parent := t.TempDir()
	var dirs []string
	for range 3 {
		w, err := Create(parent, Manifest{Subject: Subject{Name: "../../Zahlung läuft/1"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, w.Dir())
		base := filepath.Base(w.Dir())
		if filepath.Dir(w.Dir()) != parent || !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d{6}Z-Zahlung-l-uft-1(-\d)?$`).MatchString(base) {
			t.Errorf("directory %s", w.Dir())
		}
	}
	if slices.Sort(dirs); len(slices.Compact(dirs)) != 3 {
		t.Errorf("a directory was used twice: %q", dirs)
	}
}

func TestNamesStayInside(t *testing.T) {
	w := create(t)
	for _, name := range []string{"", ".", "..", "../x", "a/b", "/etc/passwd", ".hidden", "a\x00b", "ü", strings.Repeat("a", 200)} {
		if _, err := w.History(name); !errors.Is(err, ErrName) {
			t.Errorf("history %q: %v", name, err)
		}
		if _, err := w.Agent(name); !errors.Is(err, ErrName) {
			t.Errorf("agent %q: %v", name, err)
		}
		if err := WriteFile(w.Dir(), name, nil); !errors.Is(err, ErrName) {
			t.Errorf("file %q: %v", name, err)
		}
	}
}

func TestAppendIsConcurrentAndAtOnce(t *testing.T) {
	w := create(t)
	log, err := w.History("soak")
	if err != nil {
		t.Fatal(err)
	}
	const writers, each = 8, 200
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				if _, err := log.Append(history.Event{Actor: "a", Op: history.OpStep, Type: history.Info}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	// The run is still open: what was appended must be readable already.
	run := load(t, w.Dir())
	if n := len(run.Histories["soak"]); n != writers*each {
		t.Errorf("%d events, want %d", n, writers*each)
	}
	if len(run.Damage) != 1 || !strings.Contains(run.Damage[0], "never sealed") {
		t.Errorf("damage %q", run.Damage)
	}
}

func TestAppendKeepsAGivenTime(t *testing.T) {
	w := create(t)
	log, err := w.History("p")
	if err != nil {
		t.Fatal(err)
	}
	e, err := log.Append(history.Event{At: 7 * time.Second, Actor: "a", Op: history.OpLost, Type: history.Info})
	if err != nil || e.At != 7*time.Second || e.Seq != 1 {
		t.Errorf("appended %+v, %v", e, err)
	}
	if err := errors.Join(log.Close(), log.Close()); err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := log.Append(e); !errors.Is(err, os.ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
	if _, err := w.History("p"); !errors.Is(err, os.ErrExist) {
		t.Errorf("a history was opened a second time: %v", err)
	}
}

func TestUpdateAndSeal(t *testing.T) {
	w := create(t)
	change := func(m *Manifest) { m.Probes = append(m.Probes, Probe{Name: "contend", Status: Ran}) }
	if err := w.Update(change); err != nil {
		t.Fatal(err)
	}
	if run := load(t, w.Dir()); run.Manifest.Status != Running || len(run.Manifest.Probes) != 1 {
		t.Errorf("manifest %+v", run.Manifest)
	}
	if err := w.Seal(Aborted, errors.New("disk on fire")); err != nil {
		t.Fatal(err)
	}
	if m := load(t, w.Dir()).Manifest; m.Status != Aborted || m.Err != "disk on fire" {
		t.Errorf("manifest %+v", m)
	}
	_, late := w.History("late")
	for _, err := range []error{late, w.Seal(Complete, nil), w.Update(change), w.SetFacts(facts.Deployment{})} {
		if !errors.Is(err, ErrSealed) {
			t.Errorf("after the seal: %v", err)
		}
	}
}
