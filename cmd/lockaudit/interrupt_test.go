package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/record"
)

// TestStopAtEveryStep stops an audit at each step of the five and in each way. It
// must leave no process, stopped or running, no entry in the agent's journal, and
// a record that can be read.
func TestStopAtEveryStep(t *testing.T) {
	bin := buildAgent(t)
	build := exec.Command("go", "build", "-o", filepath.Join(bin, "lockaudit"), ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	// Lock clients run unprivileged and must reach the program.
	for _, dir := range []string{bin, filepath.Dir(bin)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	address := redisServer(t)
	for _, step := range []string{"1 acquire lock on A", "2 pause A", "waiting for the lease", "4 resume A", "5 A writes"} {
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
			t.Run(step+"/"+sig.String(), func(t *testing.T) { stopAt(t, bin, address, step, sig) })
		}
	}
}

func stopAt(t *testing.T, bin, address, step string, sig syscall.Signal) {
	dir := t.TempDir()
	mark := "LOCKAUDIT_TEST_MARK=" + dir
	plan := fmt.Sprintf(`
name: stop
lock: {backend: redis, endpoints: ["%[1]s"], key: k, ttl: 1s, options: {fencing_counter: true}}
resource: {kind: redis, endpoints: ["%[1]s"]}
clients: {exec: [env, "%[2]s", "%[3]s", client, redis]}
probes: [pause-holder-past-ttl]
`, address, mark, filepath.Join(bin, "lockaudit"))
	if err := os.WriteFile(filepath.Join(dir, "plan.yaml"), []byte(plan), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, "lockaudit"), "audit", "plan.yaml")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LOCKAUDIT_STATE="+filepath.Join(dir, "state"), mark)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	lines := bufio.NewScanner(io.TeeReader(stderr, &said))
	found := false
	for lines.Scan() {
		if strings.Contains(lines.Text(), step) {
			found = true
			break
		}
	}
	if err := cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, io.TeeReader(stderr, &said))
	err = cmd.Wait()
	if !found {
		t.Fatalf("the audit never came to %q: %v\n%s", step, err, said.String())
	}
	var ended *exec.ExitError
	if sig != syscall.SIGKILL && (!errors.As(err, &ended) || ended.ExitCode() != exitCouldNotRun) {
		t.Errorf("exit: %v, want status %d\n%s", err, exitCouldNotRun, said.String())
	}
	noneLeft(t, mark)
	left, err := os.ReadDir(filepath.Join(dir, "state", "faults"))
	if err != nil || len(left) > 0 {
		t.Errorf("the agent's journal: %v, %v; want it empty", left, err)
	}
	checkRecord(t, dir, sig)
}

func checkRecord(t *testing.T, dir string, sig syscall.Signal) {
	runs, err := filepath.Glob(filepath.Join(dir, "runs", "*-stop"))
	if err != nil || len(runs) != 1 {
		t.Fatalf("run directories: %v, %v", runs, err)
	}
	run, err := record.Load(runs[0])
	if err != nil {
		t.Fatal(err)
	}
	want := record.Interrupted
	if sig == syscall.SIGKILL {
		want = record.Running
	}
	if run.Manifest.Status != want || len(run.Manifest.Residue) > 0 {
		t.Errorf("status %q, residue %v; want %q and none", run.Manifest.Status, run.Manifest.Residue, want)
	}
	if len(run.Histories["pause-holder-past-ttl"]) == 0 {
		t.Error("the record up to the stop was not kept")
	}
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
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	stop, err := serveRedis(address, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return address
}
