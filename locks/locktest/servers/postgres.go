package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/lockaudit/lockaudit/conformance"
)

// PostgresUser and PostgresPassword are the superuser of every test server.
const (
	PostgresUser     = "postgres"
	PostgresPassword = "secret, with 'quotes'"
)

// Postgres is one PostgreSQL server: the postmaster and its backends.
type Postgres struct {
	*Server
	Dir  string // of the data
	dead sync.Once
}

// PostgresTemplate is a database cluster that was never started; making one takes a
// second, copying it much less.
type PostgresTemplate struct{ bin, dir string }

// NewPostgresTemplate makes a cluster with the binaries of Debian's package. The
// cluster that the package has made and started is another one.
func NewPostgresTemplate(tb testing.TB) PostgresTemplate {
	tb.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		tb.Fatalf("find postgres (apt-get install postgresql): %v", err)
	}
	slices.Sort(found)
	dir := tb.TempDir()
	p := PostgresTemplate{bin: filepath.Dir(found[len(found)-1]), dir: filepath.Join(dir, "template")}
	pw := filepath.Join(dir, "password")
	if err := os.WriteFile(pw, []byte(PostgresPassword+"\n"), 0o600); err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(p.bin, "initdb"), "--pgdata", p.dir, "--username", PostgresUser, "--pwfile", pw,
		"--auth", "scram-sha-256", "--no-sync", "--no-instructions", "--no-locale", "--encoding", "UTF8")
	cmd.SysProcAttr = asUser()
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("initdb: %v\n%s", err, out)
	}
	return p
}

// asUser makes a process one of an ordinary user, as PostgreSQL demands: of uid 1000
// in a user namespace in which that is ourselves, so that our files are its own.
func asUser() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 {
		attr.Cloneflags = syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}}
	}
	return attr
}

// Start starts a server on a free port of loopback, with settings as name=value.
func (p PostgresTemplate) Start(tb testing.TB, settings ...string) *Postgres {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "data")
	if err := os.CopyFS(dir, os.DirFS(p.dir)); err != nil {
		tb.Fatal(err)
	}
	return p.StartIn(tb, dir, settings...)
}

// StartIn starts a server in a directory that another one has left.
func (p PostgresTemplate) StartIn(tb testing.TB, dir string, settings ...string) *Postgres {
	tb.Helper()
	if err := os.Chmod(dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	port := strconv.Itoa(conformance.Port(tb))
	// The memory of a server that is killed lies in its directory, and not in /dev/shm
	// for ever.
	argv := []string{
		"-D", dir, "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "shared_buffers=16MB", "-c", "dynamic_shared_memory_type=mmap",
	}
	for _, s := range settings {
		argv = append(argv, "-c", s)
	}
	cmd := exec.Command(filepath.Join(p.bin, "postgres"), argv...)
	log, err := os.Create(dir + ".log")
	if err != nil {
		tb.Fatal(err)
	}
	defer log.Close()
	cmd.Stderr, cmd.SysProcAttr = log, asUser()
	s, _ := start(tb, cmd)
	server := &Postgres{Server: s, Dir: dir}
	tb.Cleanup(server.Kill)
	s.Endpoint = net.JoinHostPort("127.0.0.1", port)
	if err := awaitLogin(s.Endpoint); err != nil {
		said, _ := os.ReadFile(dir + ".log")
		tb.Fatalf("start postgres: %v\n%s", err, said)
	}
	return server
}

// Copy takes a copy of a running server that starts as its standby.
func (p PostgresTemplate) Copy(tb testing.TB, s *Postgres) (dir string) {
	tb.Helper()
	dir = filepath.Join(tb.TempDir(), "data")
	host, port, err := net.SplitHostPort(s.Endpoint)
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(p.bin, "pg_basebackup"), "-D", dir, "-R", "-X", "stream", "-c", "fast", "--no-sync",
		"-h", host, "-p", port, "-U", PostgresUser)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+PostgresPassword)
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("pg_basebackup: %v\n%s", err, out)
	}
	return dir
}

// awaitLogin waits until the server lets us in.
func awaitLogin(addr string) error {
	deadline := time.Now().Add(readyLimit)
	err := errors.New("never tried")
	for time.Now().Before(deadline) {
		if err = login(addr); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("wait for %s: %w", addr, err)
}

func login(addr string) error {
	conn, err := Dial(context.Background(), addr)
	if err != nil {
		return err
	}
	return conn.Close(context.Background())
}

// Dial connects to a test server as its superuser.
func Dial(ctx context.Context, addr string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig("host=localhost sslmode=disable user=" + PostgresUser)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	config.Host, config.Port, config.Password, config.Database = host, uint16(n), PostgresPassword, "postgres"
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return pgx.ConnectConfig(ctx, config)
}

// backends are the server's other processes, which are the postmaster's children and,
// each in a session of its own, not of its process group.
func (s *Postgres) backends() (pids []int) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", s.PID())) // gone: none
	for _, word := range strings.Fields(string(b)) {
		if pid, err := strconv.Atoi(word); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// signal reaches the postmaster first, so that no further backend appears.
func (s *Postgres) signal(sig syscall.Signal) error {
	var err error
	if sig == syscall.SIGSTOP {
		err = s.Server.Stop()
	} else {
		err = s.cmd.Process.Signal(sig)
	}
	if err != nil {
		return err
	}
	for _, pid := range s.backends() {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("signal backend %d: %w", pid, err)
		}
		if sig == syscall.SIGSTOP {
			if err := awaitStopped(pid); err != nil {
				return err
			}
		}
	}
	return nil
}

// Stop suspends all of the server.
func (s *Postgres) Stop() error { return s.signal(syscall.SIGSTOP) }

// Resume ends Stop.
func (s *Postgres) Resume() error { return s.signal(syscall.SIGCONT) }

// Kill ends all of the server as the crash of its machine does, and waits until it is
// gone: no other can start in its directory before.
func (s *Postgres) Kill() {
	s.dead.Do(func() {
		// Stopped, the postmaster collects nobody: a pid that was read stays its child's.
		_ = s.Stop()
		var gone []unix.PollFd
		for _, pid := range s.backends() {
			if fd, err := unix.PidfdOpen(pid, 0); err == nil {
				defer unix.Close(fd)
				gone = append(gone, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
			}
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		s.Server.Kill()
		for i := range gone {
			_, _ = unix.Poll(gone[i:i+1], int(readyLimit.Milliseconds()))
		}
	})
}
