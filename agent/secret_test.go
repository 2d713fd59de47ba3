package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
)

// TestUndoStaysOnTheNode: what a server was started with is in the journal, because
// whoever starts it again needs it, and nowhere else: an environment holds secrets,
// and the auditor's record is read by many.
func TestUndoStaysOnTheNode(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-of-the-server"
	server := exec.Command("sleep", "1000.25") // like nobody else, or one that a test beside this has started is taken for it
	server.Env = []string{"DB_TOKEN=" + secret}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	pid := server.Process.Pid
	ended := make(chan struct{})
	go func() { _ = server.Wait(); close(ended) }()
	t.Cleanup(func() { _ = server.Process.Kill(); <-ended })
	within(t, "it sleeps", func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		return err == nil && len(b) > 0
	})

	dir := stateDir(t)
	var trace bytes.Buffer
	c, err := Dial(testCtx(t), testCommand(t, dir), &trace)
	if err != nil {
		t.Fatal(err)
	}
	params, err := json.Marshal(map[string]any{"target": map[string]int{"pid": pid}, "down_for": time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	s := inject.Spec{Kind: "crash", For: time.Minute, Patience: 10 * time.Second, Params: params}
	p, err := c.Prepare(testCtx(t), s)
	if err != nil {
		t.Fatal(err)
	}
	f, err := c.Inject(testCtx(t), s)
	if err != nil {
		t.Fatal(err)
	}
	journal, err := os.ReadFile(filepath.Join(dir, "faults", f.ID+".json"))
	if err != nil || !bytes.Contains(journal, []byte(secret)) {
		t.Errorf("the journal lacks what a restart needs: %v", err)
	}
	st, err := os.Stat(filepath.Join(dir, "faults", f.ID+".json"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode of the journal's file: %v, %v", st.Mode(), err)
	}
	list, err := c.Faults(testCtx(t))
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.Revert(testCtx(t), f.ID)
	if err != nil {
		t.Fatal(err)
	}
	again := reborn(t, e.Seen)
	env, err := os.ReadFile("/proc/" + again + "/environ")
	if err != nil || !strings.Contains(string(env), secret) {
		t.Errorf("the server was started again without its environment: %q, %v", env, err)
	}
	if out, err := exec.Command("kill", "-9", again).CombinedOutput(); err != nil {
		t.Errorf("end the server: %v: %s", err, out)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	answers, err := json.Marshal([]any{p, f, list, e})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"the trace": trace.Bytes(), "the answers": answers} {
		if len(text) == 0 || bytes.Contains(text, []byte(secret)) {
			t.Errorf("%s: %d bytes, with the secret in them: %v", name, len(text), bytes.Contains(text, []byte(secret)))
		}
	}
	log, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range log {
		if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte(secret)) {
			t.Errorf("%s has the secret", path)
		}
	}
}

// reborn is the process id in "it runs as process 4711".
func reborn(t *testing.T, seen string) string {
	t.Helper()
	_, pid, ok := strings.Cut(seen, "it runs as process ")
	if !ok {
		t.Fatalf("%q names no process", seen)
	}
	pid, _, _ = strings.Cut(pid, ",")
	return pid
}
