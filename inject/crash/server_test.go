package crash_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/conformance"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/crash"
	"github.com/lockaudit/lockaudit/inject/target"
)

// server is a process with its own port, directory, log and environment.
type server struct {
	addr string
	port int
	log  string
	exe  string
}

func startServer(t *testing.T) *server {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, exe)
	s.run(t, exec.Command(exe, "serve", s.addr))
	return s
}

func newServer(t *testing.T, exe string) *server {
	t.Helper()
	port := conformance.Port(t)
	return &server{addr: fmt.Sprintf("127.0.0.1:%d", port), port: port, log: filepath.Join(t.TempDir(), "log"), exe: exe}
}

// run starts the command and returns when it listens.
func (s *server) run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	log, err := os.OpenFile(s.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	// A server of another user must reach its log.
	if err := errors.Join(log.Chmod(0o666), os.Chmod(filepath.Dir(s.log), 0o755), os.Chmod(filepath.Dir(filepath.Dir(s.log)), 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, filepath.Dir(s.log)
	cmd.Env = []string{"SECRET=of-" + s.addr, "PATH=/bin"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }()
	t.Cleanup(func() { s.kill(t) })
	await(t, "the server listens", func() bool { return s.pid() != 0 })
}

func (s *server) find() (target.Target, error) {
	return target.Resolve(context.Background(), target.Selector{Port: s.port})
}

func (s *server) pid() int {
	found, err := s.find()
	if err != nil {
		return 0
	}
	return found.PID
}

// kill ends whoever serves now, and waits until nobody does.
func (s *server) kill(t *testing.T) {
	if pid := s.pid(); pid != 0 {
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Kill()
		}
		await(t, "the server is gone", func() bool { return s.pid() != pid })
	}
}

func (s *server) params(down time.Duration, r *crash.Restart) json.RawMessage {
	b, err := json.Marshal(crash.Params{Target: target.Selector{Port: s.port}, DownFor: down, Restart: r})
	if err != nil {
		panic(err)
	}
	return b
}

func (s *server) spec(down time.Duration, r *crash.Restart) inject.Spec {
	return inject.Spec{Kind: crash.Kind, For: time.Minute, Params: s.params(down, r)}
}

// state is how the server runs, without what a restart changes.
func (s *server) state() string {
	p, err := s.find()
	if err != nil {
		return "down"
	}
	proc := "/proc/" + strconv.Itoa(p.PID)
	env, _ := os.ReadFile(proc + "/environ")
	dir, _ := os.Readlink(proc + "/cwd")
	out, _ := os.Readlink(proc + "/fd/1")
	limits, _ := os.ReadFile(proc + "/limits")
	oom, _ := os.ReadFile(proc + "/oom_score_adj")
	status, _ := os.ReadFile(proc + "/status")
	var kept []string
	for line := range strings.Lines(string(status)) {
		for _, key := range []string{"Uid:", "Gid:", "Groups:", "Umask:"} {
			if strings.HasPrefix(line, key) {
				kept = append(kept, line)
			}
		}
	}
	return fmt.Sprintf("%q in %s, env %q, log %s, cgroup %s\n%s%s%s", p.Cmdline, dir, env, out, p.Cgroup, oom, limits, strings.Join(kept, ""))
}

// hang is after what something that was waited for does not happen any more.
const hang = 2 * time.Minute

func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(context.Background(), hang)
	t.Cleanup(cancel)
	return c
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(hang); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", hang, what)
		}
	}
}
