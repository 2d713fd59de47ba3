package examples_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// bin has lockaudit, its agent and locklab, built as a user builds them, and a copy of
// each lock client, all readable by everybody: lock clients run as nobody.
var bin = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "lockaudit-examples-")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	for _, name := range []string{"lockaudit", "lockaudit-agent", "locklab"} {
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, name), "../cmd/"+name)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return dir, errors.Join(err, errors.New(string(out)))
		}
	}
	return dir, nil
})

func programs(t *testing.T) string {
	t.Helper()
	dir, err := bin()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// shared is a folder that everybody can read.
func shared(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lockaudit-shared-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// copied is a folder of this repository as everybody can read it.
func copied(t *testing.T, from string) string {
	t.Helper()
	to := shared(t)
	if err := os.CopyFS(filepath.Join(to, "copy"), os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(to, "copy")
}

// workplace is where programs are run, with labs and an agent's journal of its own.
type workplace struct{ bin, dir string }

func newWorkplace(t *testing.T) workplace {
	t.Helper()
	return workplace{programs(t), t.TempDir()}
}

// run returns stdout, stderr and the exit status.
func (w workplace) run(t *testing.T, program string, args ...string) (out, errs string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(w.bin, program), args...)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "LOCKLAB_DIR="+filepath.Join(w.dir, "labs"), "LOCKAUDIT_STATE="+filepath.Join(w.dir, "state"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatalf("run %s: %v", program, err)
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// report is what a test looks at of a JSON report.
type report struct {
	Grade    struct{ Letter string }
	Findings []struct{ Item, Outcome, Summary string }
}

func (r report) outcome(item string) string {
	for _, f := range r.Findings {
		if f.Item == item {
			return f.Outcome
		}
	}
	return "missing"
}

func readReport(t *testing.T, text string) (r report) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatalf("read report: %v\n%s", err, text)
	}
	return r
}

// record is everything that the only run of the workplace has kept, by file.
func (w workplace) record(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	runs, err := filepath.Glob(filepath.Join(w.dir, "runs", "*"))
	if err != nil || len(runs) != 1 {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	err = filepath.WalkDir(runs[0], func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(runs[0], path)
		files[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
