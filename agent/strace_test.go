package agent

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestRunsNoProgram traces agent and guard while they inject and revert: no shell, no
// tc, no ip. A hook is a program, and a crashed server is one that starts again; their
// kinds are left out. A client that is started then shows that the trace would tell.
func TestRunsNoProgram(t *testing.T) {
	t.Parallel()
	c := dial(t, testCommand(t, stateDir(t)))
	h := c.Hello()
	log := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command("strace", "-f", "-e", "trace=execve,execveat", "-o", log, "-p", strconv.Itoa(h.PID), "-p", strconv.Itoa(h.GuardPID))
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	stopTrace := func() {
		_ = cmd.Process.Signal(os.Interrupt)
		<-ended
	}
	t.Cleanup(stopTrace)
	for _, pid := range []int{h.PID, h.GuardPID} {
		within(t, "process "+strconv.Itoa(pid)+" is traced", func() bool { return hasTracer(t, pid) })
	}
	injected := 0
	for _, k := range kindCases() {
		if slices.Contains([]string{"hook", "crash"}, strings.Fields(k.name)[0]) {
			continue
		}
		s := k.make(t)
		f, err := c.Inject(testCtx(t), s.spec(time.Minute))
		if err != nil {
			t.Errorf("%s: %v", k.name, err)
			continue
		}
		mustRevert(t, c, f.ID)
		injected++
	}
	if b, err := os.ReadFile(log); err != nil || bytes.Contains(b, []byte("exec")) || injected < 2 {
		t.Errorf("%d faults, trace: %v\n%s\n%s", injected, err, b, said.String())
	}
	p := start(t, c, "a", "true")
	<-p.Done()
	stopTrace()
	if b, err := os.ReadFile(log); err != nil || !bytes.Contains(b, []byte("execve(")) {
		t.Errorf("the trace does not show a client's start: %v\n%s", err, b)
	}
}

// hasTracer says whether every thread has a tracer.
func hasTracer(t *testing.T, pid int) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/status")
	if err != nil || len(files) == 0 {
		t.Fatalf("process %d: %v", pid, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(b), "TracerPid:\t0\n") {
			return false
		}
	}
	return true
}
