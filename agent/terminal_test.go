package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/lockaudit/lockaudit/agent/sshtest"

	"golang.org/x/sys/unix"
)

// testDial is the command, as JSON, that the role "dialer" dials.
const testDial = "LOCKAUDIT_TEST_DIAL"

// playDialer dials and says what became of it.
func playDialer() error {
	var argv []string
	if err := json.Unmarshal([]byte(os.Getenv(testDial)), &argv); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	c, err := Dial(ctx, Command{Argv: argv}, nil)
	if err == nil {
		_ = c.Close()
	}
	fmt.Fprintln(os.Stderr, "dialled:", err)
	return nil
}

// TestNobodyIsAsked: an auditor at a terminal. ssh and sudo would ask there, and wait for
// ever in the background; they are to fail.
func TestNobodyIsAsked(t *testing.T) {
	t.Parallel()
	m := sshtest.Start(t)
	tests := map[string]struct {
		name, want string
	}{
		"password":         {sshtest.Password, "Permission denied"},
		"unknown host key": {sshtest.Stranger, "Host key verification failed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			terminal := openTerminal(t)
			argv, err := json.Marshal(m.Via(tt.name, "lockaudit-agent"))
			if err != nil {
				t.Fatal(err)
			}
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(exe)
			cmd.Env = append(os.Environ(), testRole+"=dialer", testDial+"="+string(argv))
			var said bytes.Buffer
			cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, &said
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v: %s", err, said.String())
			}
			if !strings.Contains(said.String(), tt.want) {
				t.Errorf("%s, want %q", said.String(), tt.want)
			}
		})
	}
}

// openTerminal is the far end of a pseudo-terminal.
func openTerminal(t *testing.T) *os.File {
	t.Helper()
	near, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	if err := unix.IoctlSetPointerInt(int(near.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(near.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	far, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	return far
}
