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

// serverAt is the pid of who listens on a port, 0 if nobody does. It does not connect:
// who asks often enough for a port that is free is one day given it to ask from.
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
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr)
	l.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "server", addr.String()) // by which it is told from an agent
	cmd.Env = append(os.Environ(), testRole+"=server", testServer+"="+addr.String())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reaped := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(reaped)
	}()
	end := func() {
		if pid := serverAt(addr.Port); pid != 0 {
			kill(pid, syscall.SIGKILL)
		}
		within(t, 20*time.Second, "the server is down", func() bool { return serverAt(addr.Port) == 0 })
	}
	t.Cleanup(func() {
		end()
		<-reaped
	})
	within(t, 20*time.Second, "the server is up", func() bool { return serverAt(addr.Port) != 0 })
	return subject{
		kind: crash.Kind, patience: 5 * time.Second,
		params: func(down time.Duration) json.RawMessage {
			return always(crash.Params{Target: target.Selector{Port: addr.Port}, DownFor: down})(0)
		},
		snapshot: func() string { return fmt.Sprintf("up=%v", serverAt(addr.Port) != 0) },
		alike:    func(string) { end() },
	}, addr.Port
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
