package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/conformance"
	"github.com/lockaudit/lockaudit/inject/crash"
	"github.com/lockaudit/lockaudit/inject/hook"
	"github.com/lockaudit/lockaudit/inject/target"
)

const testServer = "LOCKAUDIT_TEST_SERVER" // the address of playServer

func playServer() error {
	l, err := net.Listen("tcp", os.Getenv(testServer))
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		c.Close()
	}
}

// serverAt is the pid of who listens on a port, 0 if nobody does.
func serverAt(port int) int {
	found, err := target.Resolve(context.Background(), target.Selector{Port: port})
	if err != nil {
		return 0
	}
	return found.PID
}

func crashSubject(t testing.TB) subject {
	s, _ := serverSubject(t)
	return s
}

// serverSubject is a server to crash, and its port.
func serverSubject(t testing.TB) (subject, int) {
	port := conformance.Port(t)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "server", addr) // by which it is told from an agent
	cmd.Env = append(os.Environ(), testRole+"=server", testServer+"="+addr)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reaped := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(reaped)
	}()
	end := func() {
		_ = cmd.Process.Kill()
		within(t, "the server is down", func() bool {
			<-reaped
			pid := serverAt(port)
			if pid != 0 {
				kill(pid, syscall.SIGKILL) // the one that was started again
			}
			return pid == 0
		})
	}
	t.Cleanup(end)
	within(t, "the server is up", func() bool { return serverAt(port) != 0 })
	return subject{
		kind: crash.Kind, patience: 5 * time.Second,
		params: func(down time.Duration) json.RawMessage {
			return always(crash.Params{Target: target.Selector{Port: port}, DownFor: down})(0)
		},
		snapshot: func() string { return fmt.Sprintf("up=%v", serverAt(port) != 0) },
		alike:    func(string) { end() },
	}, port
}

// hookSubject is a file that is there while the fault is in effect.
func hookSubject(t testing.TB) subject {
	dir, err := os.MkdirTemp("", "agent-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "failed-over")
	there := func() bool { _, err := os.Stat(file); return err == nil }
	return subject{
		kind: hook.Kind, patience: 2 * time.Second,
		params: always(hook.Params{
			Inject: []string{"touch", file}, Revert: []string{"rm", "-f", file}, Check: []string{"test", "!", "-e", file},
		}),
		snapshot: func() string { return fmt.Sprintf("failed over=%v", there()) },
		alike: func(string) {
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	}
}
