package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lockaudit/lockaudit/record"
)

// TestKeepersKilled kills agent and guard together in the middle of a pause, and no agent
// can be started there any more. The kernel resumes the client, and the auditor, which
// cannot know that, must not say so: the status is 4 until somebody has looked.
func TestKeepersKilled(t *testing.T) {
	bin := buildAgent(t)
	buildAuditor(t, bin)
	a := startAuditBehind(t, bin, redisServer(t), door)
	a.until("waiting for the lease")
	if err := os.WriteFile(filepath.Join(a.dir, "closed"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a.killKeepers()
	err := a.wait()
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.ExitCode() != exitFaultRemains {
		t.Errorf("exit: %v, want status %d\n%s", err, exitFaultRemains, a.said.String())
	}
	if run := a.record(); len(run.Manifest.Residue) != 1 || !strings.Contains(run.Manifest.Residue[0].Remove, "lockaudit heal") {
		t.Errorf("residue %v, want the pause and how to remove it", run.Manifest.Residue)
	}
	noneLeft(t, a.mark) // a client that was still stopped could not have ended
	for i, want := range []string{"reverted", "nothing to heal"} {
		heal := exec.Command(filepath.Join(bin, "lockaudit"), "heal")
		heal.Env = a.cmd.Env
		out, err := heal.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("heal, time %d: %v, want %q in:\n%s", i+1, err, want, out)
		}
	}
}

// TestKeepersReplaced kills both, and an agent can be started again. It reverts what the
// journal has and reads it back; only then the audit goes on, and repeats the trial.
func TestKeepersReplaced(t *testing.T) {
	bin := buildAgent(t)
	buildAuditor(t, bin)
	a := startAuditBehind(t, bin, redisServer(t), door)
	a.until("waiting for the lease")
	a.killKeepers()
	a.goesOn("local")
	log, err := os.ReadFile(filepath.Join(a.dir, "log", "agent.jsonl"))
	if err != nil || !bytes.Contains(log, []byte(`"recover"`)) {
		t.Errorf("the new agent recovered nothing: %v\n%s", err, log)
	}
}

// door is a transport that can be closed: no new connection then.
const door = "#!/bin/sh\ntest ! -e \"$(dirname \"$0\")/closed\" || exit 1\nexec \"$@\"\n"

func (a *audited) killKeepers() {
	a.t.Helper()
	keepers := a.pids("lockaudit-agent", "lockaudit-guard")
	if len(keepers) != 2 {
		a.t.Fatalf("agent and guard: %v", keepers)
	}
	// Stopped first: the one that is killed last must not see the other go and revert.
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
		for _, pid := range keepers {
			if err := syscall.Kill(pid, sig); err != nil {
				a.t.Fatal(err)
			}
		}
	}
}

// goesOn waits for the end of an audit that has lost the connection to a node in the
// middle of a trial: that trial is repeated, and nothing is left.
func (a *audited) goesOn(node string) {
	a.t.Helper()
	err := a.wait()
	var ended *exec.ExitError
	if errors.As(err, &ended) && (ended.ExitCode() == exitCouldNotRun || ended.ExitCode() == exitFaultRemains) {
		a.t.Errorf("exit: %v\n%s", err, a.said.String())
	}
	noneLeft(a.t, a.mark)
	run := a.record()
	if m := run.Manifest; m.Status != record.Complete || len(m.Residue) > 0 {
		a.t.Errorf("status %q, residue %v: %s", m.Status, m.Residue, m.Err)
	}
	probe := run.Manifest.Probes[0]
	if len(probe.Repeats) == 0 || !strings.Contains(probe.Repeats[0].Why, "connection to the agent on "+node+" was lost") ||
		probe.Status != record.Ran || probe.Completed != probe.Trials {
		a.t.Errorf("probe: %+v, want a trial repeated for the lost connection", probe)
	}
	if nodes := run.Manifest.Nodes; len(nodes) == 0 || nodes[0].Times < 2 || nodes[0].ClockError <= 0 || nodes[0].Raw <= 0 {
		a.t.Errorf("nodes: %+v", nodes)
	}
}
