package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/agent/sshtest"
)

// site is a machine behind a real ssh, with a Redis on it, and the programs of a user's
// build here.
type site struct {
	*sshtest.Machine
	t        *testing.T
	bin, dir string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{Machine: sshtest.Start(t), t: t, bin: buildAgent(t), dir: t.TempDir()}
	buildAuditor(t, s.bin)
	// Another one on PATH is not the one that is copied.
	if err := os.WriteFile(filepath.Join(s.dir, "lockaudit-agent"), []byte("another build"), 0o755); err != nil {
		t.Fatal(err)
	}
	return s
}

// plan writes a plan whose only node is reached by a name of sshtest.
func (s *site) plan(name string, agentArgv []string, then ...string) string {
	s.t.Helper()
	via, err := json.Marshal(s.Via(name, then...))
	if err != nil {
		s.t.Fatal(err)
	}
	program, err := json.Marshal(agentArgv)
	if err != nil {
		s.t.Fatal(err)
	}
	text := fmt.Sprintf(`name: stop
lock: {backend: redis, endpoints: ["127.0.0.1:6379"], key: k, ttl: 1s, options: {fencing_counter: true}}
resource: {kind: redis, endpoints: ["127.0.0.1:6379"]}
nodes: [{name: app-a, roles: [client], via: %s, agent: %s}]
probes: [pause-holder-past-ttl]
`, via, program)
	path := filepath.Join(s.dir, "plan.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// run runs lockaudit and wants an exit status.
func (s *site) run(status int, args ...string) (stdout, stderr string) {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(s.bin, "lockaudit"), args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "PATH="+s.dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	err := cmd.Run()
	got := 0
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		got = ended.ExitCode()
	} else if err != nil {
		s.t.Fatal(err)
	}
	if got != status {
		s.t.Errorf("%v: exit status %d, want %d\n%s%s", args, got, status, out.String(), log.String())
	}
	return out.String(), log.String()
}

// has wants words in a text.
func has(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("lacks %q:\n%s", w, text)
		}
	}
}

// there are the files of the machine's /usr/local/bin.
func (s *site) there() string {
	s.t.Helper()
	entries, err := os.ReadDir(s.Bin)
	if err != nil {
		s.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func same(t *testing.T, a, b string) bool {
	t.Helper()
	one, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	two, err := os.ReadFile(b)
	return err == nil && bytes.Equal(one, two)
}

// TestPush: from a machine without an agent to one that can be audited, by its ssh alone.
func TestPush(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	local := filepath.Join(s.bin, "lockaudit-agent")
	remote := filepath.Join(s.Bin, "lockaudit-agent")
	name := []string{"lockaudit-agent"}
	plan := s.plan(sshtest.Good, name, "sudo")

	out, log := s.run(exitCouldNotRun, "nodes", plan)
	has(t, out, "app-a", "no")
	has(t, log, "lockaudit: reach node app-a: ", "command not found", "hint: lockaudit push PLAN app-a copies the agent there")

	out, _ = s.run(exitOK, "push", plan, "app-a")
	has(t, out, "app-a: copied lockaudit-agent to /usr/local/bin/lockaudit-agent", "app-a: copied lockaudit to /usr/local/bin/lockaudit ", "read there", "the plan's command runs it", "protocol versions 1 to 2")
	if !same(t, local, remote) || s.there() != "lockaudit lockaudit-agent" {
		t.Errorf("on the node: %s", s.there())
	}
	if info, err := os.Stat(remote); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode: %v, %v", info, err)
	}
	before, _ := os.Stat(remote)
	out, _ = s.run(exitOK, "push", plan)
	has(t, out, "lockaudit-agent is there already")
	if after, _ := os.Stat(remote); !os.SameFile(before, after) {
		t.Error("what was there already was replaced")
	}

	out, log = s.run(exitOK, "nodes", plan)
	has(t, out, "app-a", "yes", "uid 0", "dev", "±", "pause", "at rest")
	if strings.TrimSpace(log) != "" {
		t.Errorf("stderr: %s", log)
	}
	out, _ = s.run(exitOK, "nodes", plan, "-f", "json")
	var v visit
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatal(err)
	}
	// One kernel has one clock: what is measured must say so, within what it claims.
	if !v.Reached || v.Protocol != agent.Version || v.RoundTrip <= 0 || v.ClockAhead.Abs() > v.ClockError ||
		v.Health == nil || v.Health.Hostname != "app-a" || len(v.Health.Kinds) == 0 || len(v.Needs) == 0 {
		t.Errorf("%s", out)
	}

	t.Run("half a copy", func(t *testing.T) {
		// What reaches the node ends in the middle, as when the connection drops: dd is
		// content with that.
		half := filepath.Join(s.dir, "half")
		script := "#!/bin/sh\ncase \"$*\" in *\" dd \"*) head -c 1000000 | exec \"$@\";; *) exec \"$@\";; esac\n"
		if err := os.WriteFile(half, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		old := filepath.Join(s.dir, "old")
		if err := os.WriteFile(old, []byte("the agent of before"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := exec.Command("cp", old, remote).Run(); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(plan)
		if err != nil {
			t.Fatal(err)
		}
		broken := filepath.Join(s.dir, "half.yaml")
		if err := os.WriteFile(broken, bytes.Replace(text, []byte(`via: [`), []byte(`via: ["`+half+`",`), 1), 0o644); err != nil {
			t.Fatal(err)
		}
		_, log := s.run(exitCouldNotRun, "push", broken)
		has(t, log, "sha256 on the node is", "nothing was replaced", "hint: ")
		if !same(t, old, remote) || s.there() != "lockaudit lockaudit-agent" {
			t.Errorf("half a copy: %s", s.there())
		}
	})
	t.Run("another architecture", func(t *testing.T) {
		b, err := os.ReadFile(local)
		if err != nil {
			t.Fatal(err)
		}
		b[18], b[19] = 0xb7, 0 // e_machine: EM_AARCH64
		arm := filepath.Join(s.dir, "arm")
		if err := os.WriteFile(arm, b, 0o755); err != nil {
			t.Fatal(err)
		}
		_, log := s.run(exitCouldNotRun, "push", plan, "--binary", arm)
		has(t, log, "is for aarch64 and the node is x86_64; nothing was copied", "hint: build one: CGO_ENABLED=0 GOARCH=amd64")
		_, log = s.run(exitCouldNotRun, "push", plan, "--binary", plan)
		has(t, log, "it is no Linux program", "hint: ")
	})
	t.Run("who may not", func(t *testing.T) {
		_, log := s.run(exitCouldNotRun, "push", s.plan(sshtest.Good, name))
		has(t, log, "Permission denied", "hint: that user may not write there")
		_, log = s.run(exitCouldNotRun, "push", s.plan(sshtest.Limited, name, "sudo"))
		has(t, log, "uname -m", "hint: sudo permits the agent there, and not what copies it")
		_, log = s.run(exitCouldNotRun, "push", s.plan(sshtest.Stranger, name, "sudo"))
		has(t, log, "Host key verification failed", "hint: log in there once by hand")
	})
	t.Run("elsewhere", func(t *testing.T) {
		plan := s.plan(sshtest.Good, name, "sudo")
		_, log := s.run(exitCouldNotRun, "push", plan, "--agent-only", "--to", "/var/lib/agent-of-test")
		has(t, log, "the plan's command", "hint: PATH, or sudo's secure_path, leads elsewhere there: write agent: [/var/lib/agent-of-test]")
		out, _ := s.run(exitOK, "push", s.plan(sshtest.Good, []string{"/var/lib/agent-of-test", "--max-for", "30s"}, "sudo"), "--agent-only")
		has(t, out, "/var/lib/agent-of-test is there already", "the plan's command runs it")
	})
	t.Run("a newer agent", func(t *testing.T) {
		if err := os.Remove(remote); err != nil {
			t.Fatal(err)
		}
		build := exec.Command("go", "build", "-ldflags", "-X main.version=v9.9 -X main.protocol=7-9", "-o", remote, "../lockaudit-agent")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		plan := s.plan(sshtest.Good, name, "sudo")
		_, log := s.run(exitCouldNotRun, "nodes", plan)
		has(t, log, "the agent there (v9.9) speaks versions 7 to 9, this program (dev) versions 1 to 2", "hint: lockaudit push PLAN app-a")
		_, log = s.run(exitCouldNotRun, "audit", plan)
		has(t, log, "agent on node app-a not reachable", "the agent there (v9.9) speaks versions 7 to 9, this program (dev) versions 1 to 2", "hint: lockaudit push PLAN app-a")
		s.run(exitOK, "push", plan)
		s.run(exitOK, "nodes", plan)
	})
}

// TestAuditThroughSSH: an audit through a real sshd, whose process for that connection is
// killed in the middle of a pause: the fault ends with it, a new agent looks, and the
// trial is repeated.
func TestAuditThroughSSH(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	plan := s.plan(sshtest.Good, []string{"lockaudit-agent"}, "sudo")
	s.run(exitOK, "push", plan)
	redis := s.Inside("redis-server", "--save", "", "--dir", "/run")
	if err := redis.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = redis.Process.Kill(), redis.Wait() })

	cmd := exec.Command(filepath.Join(s.bin, "lockaudit"), "audit", plan)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a := &audited{t: t, dir: s.dir, mark: "no mark goes through ssh", cmd: cmd, stderr: stderr}
	a.until("waiting for the lease")
	s.EndSessions(t)
	a.goesOn("app-a")
	out, _ := s.run(exitOK, "agent-log", plan)
	has(t, out, "end of orders")
	left, err := s.Inside("ls", "/run/lockaudit-agent/faults").CombinedOutput()
	if err != nil || len(bytes.TrimSpace(left)) > 0 {
		t.Errorf("journal: %s, %v", left, err)
	}
}
