package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// PostgreSQL in a lab: one database for one application, as its own user, who is no
// superuser. The password is as public as this file; the network is the lab's own.
const (
	postgresUser     = "app"
	postgresPassword = "locklab"
	postgresPort     = 5432
)

// PostgresServer is a PostgreSQL server of a lab.
type PostgresServer struct {
	// Program is the path of postgres; initdb lies beside it.
	Program  string
	IP, Data string
}

// startGrace is how long a server may need until it can start: the backends of one that
// was killed are still in its memory for a moment.
const startGrace = 20 * time.Second

// Serve runs the server until it ends or ctx does. It makes the data where there is none.
func (p PostgresServer) Serve(ctx context.Context) error {
	runtime.LockOSThread() // the server gets SIGKILL when the thread that started it ends
	if _, err := os.Stat(filepath.Join(p.Data, "PG_VERSION")); errors.Is(err, fs.ErrNotExist) {
		if err := p.init(ctx); err != nil {
			return err
		}
	}
	began := time.Now()
	for {
		cmd := p.command(ctx, p.Program, "-D", p.Data, "-c", "listen_addresses="+p.IP+",127.0.0.1",
			"-c", "unix_socket_directories=", "-c", "hba_file="+filepath.Join(p.Data, "lab_hba.conf"))
		// An orderly end within what the lab's own end leaves.
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
		cmd.WaitDelay = closeGrace
		err := cmd.Run()
		var ended *exec.ExitError
		if ctx.Err() != nil {
			return nil
		}
		if !errors.As(err, &ended) || !ended.Exited() || time.Since(began) > startGrace {
			return fmt.Errorf("serve postgres: %w", err)
		}
		time.Sleep(pollInterval) // it says no more than that it could not start
	}
}

// init makes a cluster with the application's user and database.
func (p PostgresServer) init(ctx context.Context) error {
	initdb := p.command(ctx, filepath.Join(filepath.Dir(p.Program), "initdb"), "--pgdata", p.Data, "--username", "postgres",
		"--no-sync", "--no-instructions", "--no-locale", "--encoding", "UTF8")
	initdb.Stdout = nil
	if err := initdb.Run(); err != nil {
		return fmt.Errorf("initdb: %w", err)
	}
	single := p.command(ctx, p.Program, "--single", "-D", p.Data, "postgres")
	single.Stdin = strings.NewReader(fmt.Sprintf("CREATE ROLE %[1]s LOGIN PASSWORD '%[2]s'\nCREATE DATABASE %[1]s OWNER %[1]s\n", postgresUser, postgresPassword))
	single.Stdout = nil
	if err := single.Run(); err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	hba := "host all all 127.0.0.1/32 scram-sha-256\nhost all all 10.77.0.0/24 scram-sha-256\n"
	if err := os.WriteFile(filepath.Join(p.Data, "lab_hba.conf"), []byte(hba), 0o600); err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	return nil
}

// command is a program of PostgreSQL's, which refuses to run as root: it runs as uid
// 1000 of a user namespace in which that is this user. It works the same for root and in
// a rootless lab, where there is no second user to change to.
func (p PostgresServer) command(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	return cmd
}

// findPostgres returns the newest postgres of Debian's packages, or the one on the PATH.
func findPostgres() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) > 0 {
		newest := found[0]
		for _, path := range found {
			if version(path) > version(newest) {
				newest = path
			}
		}
		return newest, nil
	}
	return exec.LookPath("postgres")
}

// version is the major one in a path of Debian's.
func version(path string) (n int) {
	_, _ = fmt.Sscanf(filepath.Base(filepath.Dir(filepath.Dir(path))), "%d", &n)
	return n
}
