package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/conformance"
	"github.com/lockaudit/lockaudit/record"
)

// TestStopAtEveryStep stops an audit at each step of the five and in each way. It
// must leave no process, stopped or running, no entry in the agent's journal, and
// a record that can be read.
func TestStopAtEveryStep(t *testing.T) {
	bin := buildAgent(t)
	buildAuditor(t, bin)
	address := redisServer(t)
	for _, step := range []string{"1 acquire lock on A", "2 pause A", "waiting for the lease", "4 resume A", "5 A writes"} {
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
			t.Run(step+"/"+sig.String(), func(t *testing.T) { stopAt(t, bin, address, step, sig) })
		}
	}
}

// buildAuditor builds lockaudit where lock clients, which run unprivileged, reach it.
func buildAuditor(t *testing.T, bin string) {
	t.Helper()
	build := exec.Command("go", "build", "-o", filepath.Join(bin, "lockaudit"), ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, dir := range []string{bin, filepath.Dir(bin)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func stopAt(t *testing.T, bin, address, step string, sig syscall.Signal) {
	a := startAudit(t, bin, address)
	a.until(step)
	if err := a.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	err := a.wait()
	var ended *exec.ExitError
	if sig != syscall.SIGKILL && (!errors.As(err, &ended) || ended.ExitCode() != exitCouldNotRun) {
		t.Errorf("exit: %v, want status %d\n%s", err, exitCouldNotRun, a.said.String())
	}
	noneLeft(t, a.mark)
	left, err := os.ReadDir(filepath.Join(a.dir, "state", "faults"))
	if err != nil || len(left) > 0 {
		t.Errorf("the agent's journal: %v, %v; want it empty", left, err)
	}
	want := record.Interrupted
	if sig == syscall.SIGKILL {
		want = record.Running
	}
	if run := a.record(); run.Manifest.Status != want || len(run.Manifest.Residue) > 0 {
		t.Errorf("status %q, residue %v; want %q and none", run.Manifest.Status, run.Manifest.Residue, want)
	}
}

// audited is an audit of a local Redis that has been started.
type audited struct {
	t         *testing.T
	dir, mark string
	cmd       *exec.Cmd
	stderr    io.Reader
	said      bytes.Buffer
}

func startAudit(t *testing.T, bin, address string) *audited {
	t.Helper()
	return startAuditBehind(t, bin, address, "")
}

// startAuditBehind has the agent behind a transport, a script, if there is one.
func startAuditBehind(t *testing.T, bin, address, transport string) *audited {
	t.Helper()
	dir := t.TempDir()
	mark := "LOCKAUDIT_TEST_MARK=" + dir
	plan := fmt.Sprintf(`
name: stop
lock: {backend: redis, endpoints: ["%[1]s"], key: k, ttl: 1s, options: {fencing_counter: true}}
resource: {kind: redis, endpoints: ["%[1]s"]}
clients: {exec: [env, "%[2]s", "%[3]s", client, redis]}
probes: [pause-holder-past-ttl]
`, address, mark, filepath.Join(bin, "lockaudit"))
	if transport != "" {
		via := filepath.Join(dir, "via")
		if err := os.WriteFile(via, []byte(transport), 0o755); err != nil {
			t.Fatal(err)
		}
		plan += fmt.Sprintf("nodes: [{name: local, roles: [client], via: [%q], agent: [%q]}]\n", via, filepath.Join(bin, "lockaudit-agent"))
	}
	if err := os.WriteFile(filepath.Join(dir, "plan.yaml"), []byte(plan), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, "lockaudit"), "audit", "plan.yaml")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LOCKAUDIT_STATE="+filepath.Join(dir, "state"), "LOCKAUDIT_LOG="+filepath.Join(dir, "log"), mark)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &audited{t: t, dir: dir, mark: mark, cmd: cmd, stderr: stderr}
}

// until reads the progress up to the step.
func (a *audited) until(step string) {
	a.t.Helper()
	for lines := bufio.NewScanner(io.TeeReader(a.stderr, &a.said)); lines.Scan(); {
		if strings.Contains(lines.Text(), step) {
			return
		}
	}
	a.t.Fatalf("the audit never came to %q: %v\n%s", step, a.cmd.Wait(), a.said.String())
}

func (a *audited) wait() error {
	_, _ = io.Copy(&a.said, a.stderr)
	return a.cmd.Wait()
}

// record loads the run, which must have kept what happened up to then.
func (a *audited) record() record.Run {
	a.t.Helper()
	runs, err := filepath.Glob(filepath.Join(a.dir, "runs", "*-stop"))
	if err != nil || len(runs) != 1 {
		a.t.Fatalf("run directories: %v, %v", runs, err)
	}
	run, err := record.Load(runs[0])
	if err != nil {
		a.t.Fatal(err)
	}
	if len(run.Histories["pause-holder-past-ttl"]) == 0 {
		a.t.Error("the record up to the stop was not kept")
	}
	return run
}

// pids of the audit's own processes with one of these names.
func (a *audited) pids(names ...string) []int {
	var out []int
	for _, stat := range marked(a.mark) {
		var pid int
		var comm string
		if _, err := fmt.Sscanf(stat, "%d %s", &pid, &comm); err == nil && slices.Contains(names, strings.Trim(comm, "()")) {
			out = append(out, pid)
		}
	}
	return out
}

// noneLeft waits until no process carries the mark in its environment.
func noneLeft(t *testing.T, mark string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		left := marked(mark)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("processes left: %v", left)
			return
		}
		<-tick.C
	}
}

func marked(mark string) []string {
	var out []string
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range environs {
		env, err := os.ReadFile(path)
		if err == nil && bytes.Contains(env, []byte(mark)) {
			status, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "stat"))
			out = append(out, string(status))
		}
	}
	return out
}

// redisServer starts a real one on loopback, for the test's life.
func redisServer(t *testing.T) string {
	t.Helper()
	address := conformance.Address(t)
	stop, err := serveRedis(address, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return address
}
