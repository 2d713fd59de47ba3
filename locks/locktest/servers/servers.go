// Package servers starts real lock servers for tests: each a process of its own on
// loopback, which can be killed or stopped, and which is gone after the test.
package servers

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/conformance"
)

// Server is one server process.
type Server struct {
	Endpoint string // host:port
	cmd      *exec.Cmd
	stdin    io.Closer
	killed   sync.Once
}

// readyLimit is generous: it should fail only when a server hangs.
const readyLimit = 2 * time.Minute

// start runs a command that dies with the test. Pdeathsig covers a test that is
// killed; the pipe on stdin, for a child that heeds it, does so too.
func start(tb testing.TB, cmd *exec.Cmd) (*Server, io.Reader) {
	tb.Helper()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	s := &Server{cmd: cmd, stdin: stdin}
	tb.Cleanup(s.Kill)
	return s, stdout
}

// Kill ends the server as a crash does, and waits until it is gone.
func (s *Server) Kill() {
	s.killed.Do(func() {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		_ = s.stdin.Close()
	})
}

// PID is the server's process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stop suspends the server: connections stay up and nothing is answered.
func (s *Server) Stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return awaitStopped(s.PID())
}

// awaitStopped waits until a process that was sent SIGSTOP has stopped: each thread
// does so when it comes by, and could still answer before.
func awaitStopped(pid int) error {
	for deadline := time.Now().Add(readyLimit / 3); ; time.Sleep(time.Millisecond) {
		running := 0
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil {
			return err
		}
		for _, task := range tasks {
			b, _ := os.ReadFile(task) // gone: it does not run
			// The state follows the command, which is in parentheses and may hold any.
			_, state, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
			if state != "" && !strings.ContainsRune("TtZX", rune(state[0])) {
				running++
			}
		}
		switch {
		case running == 0:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("stop process %d: %d threads still run", pid, running)
		}
	}
}

// Resume ends Stop.
func (s *Server) Resume() error { return s.cmd.Process.Signal(syscall.SIGCONT) }

// StartRedis starts redis-server on a free port with the given arguments.
func StartRedis(tb testing.TB, args ...string) *Server {
	tb.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		tb.Fatalf("find redis-server (apt-get install redis-server): %v", err)
	}
	dir := tb.TempDir()
	port := conformance.Port(tb)
	s, _ := start(tb, exec.Command(path, append([]string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir, "--save", "", "--daemonize", "no", "--logfile", dir + "/log",
	}, args...)...))
	s.Endpoint = fmt.Sprintf("127.0.0.1:%d", port)
	if err = awaitPong(s.Endpoint); err != nil {
		log, _ := os.ReadFile(dir + "/log")
		tb.Fatalf("start redis-server: %v\n%s", err, log)
	}
	return s
}

// awaitPong waits until a server speaks the Redis protocol: any answer will do,
// also a demand for a password.
func awaitPong(addr string) error {
	deadline := time.Now().Add(readyLimit)
	err := errors.New("never tried")
	for time.Now().Before(deadline) {
		if err = pong(addr); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("wait for %s: %w", addr, err)
}

func pong(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		return err
	}
	_, err = bufio.NewReader(conn).ReadString('\n')
	return err
}

// StartEtcd starts a one-member etcd cluster by running the test binary again; its
// TestMain must call Child first. The shortest lease is 1 s.
func StartEtcd(tb testing.TB) *Server {
	tb.Helper()
	return StartSelf(tb, etcdVar+"="+tb.TempDir())
}

// StartSelf runs the test binary again, with variables by which its TestMain knows which
// server to be. It prints its endpoint as the first line once it is ready, and ends with
// its stdin.
func StartSelf(tb testing.TB, env ...string) *Server {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), env...)
	var log strings.Builder
	cmd.Stderr = &log
	s, stdout := start(tb, cmd)
	line := make(chan string, 1)
	go func() {
		text, err := bufio.NewReader(stdout).ReadString('\n')
		if err != nil {
			text = ""
		}
		line <- strings.TrimSpace(text)
	}()
	select {
	case s.Endpoint = <-line:
	case <-time.After(readyLimit):
	}
	if s.Endpoint == "" {
		s.Kill() // also ends the writes to log
		tb.Fatalf("start server: it did not become ready:\n%s", log.String())
	}
	return s
}

// StartSentinel starts a Sentinel on a free port that watches the master at an endpoint
// under the name mymaster, and whatever else the lines of its configuration say.
func StartSentinel(tb testing.TB, master string, quorum int, lines ...string) *Server {
	tb.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		tb.Fatalf("find redis-server (apt-get install redis-server): %v", err)
	}
	host, port, err := net.SplitHostPort(master)
	if err != nil {
		tb.Fatal(err)
	}
	dir, own := tb.TempDir(), conformance.Port(tb)
	config := fmt.Sprintf("bind 127.0.0.1\nport %d\ndir %s\nlogfile %s/log\nsentinel monitor mymaster %s %s %d\n%s\n",
		own, dir, dir, host, port, quorum, strings.Join(lines, "\n"))
	file := dir + "/sentinel.conf" // it writes into it
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		tb.Fatal(err)
	}
	s, _ := start(tb, exec.Command(path, file, "--sentinel"))
	s.Endpoint = fmt.Sprintf("127.0.0.1:%d", own)
	if err := awaitPong(s.Endpoint); err != nil {
		log, _ := os.ReadFile(dir + "/log")
		tb.Fatalf("start redis-sentinel: %v\n%s", err, log)
	}
	return s
}
