package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// deadline bounds every wait: long enough for a busy machine, so that only a
// hang fails.
const deadline = 2 * time.Minute

// programs is a directory with this test binary under the names below, by which
// it knows what to be.
var programs string

// TestMain makes the test binary act as the programs that the tests run.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "locklab":
		main()
	case "lockaudit":
		os.Exit(fakeAudit(os.Args[1:]))
	case "helper":
		os.Exit(helper(os.Args[1:]))
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "locklab-programs-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	programs = dir
	if err := install(dir, "locklab", "lockaudit", "helper"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// install copies the test binary, because an unprivileged user cannot enter the
// directory in which go test keeps it.
func install(dir string, names ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	first := filepath.Join(dir, names[0])
	in, err := os.Open(self)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(first, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	for _, name := range names[1:] {
		err = errors.Join(err, os.Link(first, filepath.Join(dir, name)))
	}
	return errors.Join(err, out.Close(), os.Chmod(dir, 0o755))
}

// site is a directory for labs and the user who owns it.
type site struct {
	t   *testing.T
	dir string
	uid int
}

// users that can raise labs here: this one, and nobody if this one is root.
func users() []int {
	if os.Geteuid() != 0 {
		return []int{os.Geteuid()}
	}
	return []int{0, 65534}
}

func newSite(t *testing.T, uid int) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "locklab-test-")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t, filepath.Join(dir, "labs"), uid}
	t.Cleanup(func() {
		if out, err := s.command("down", "--all").CombinedOutput(); err != nil {
			t.Errorf("down --all: %v: %s", err, out)
		}
		_ = os.RemoveAll(dir)
	})
	if uid != os.Geteuid() {
		if err := os.Chown(dir, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// command is locklab run by the site's user.
func (s *site) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.t.Context(), filepath.Join(programs, "locklab"), args...)
	if s.t.Context().Err() != nil { // in a cleanup
		cmd = exec.Command(filepath.Join(programs, "locklab"), args...)
	}
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "LOCKLAB_DIR="+s.dir)
	if s.uid != os.Geteuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(s.uid), Gid: uint32(s.uid)}}
	}
	return cmd
}

// run runs locklab to its end and returns what it printed and its exit status.
func (s *site) run(args ...string) (stdout, stderr string, exit int) {
	s.t.Helper()
	cmd := s.command(args...)
	var out, notes bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &notes
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		s.t.Fatalf("locklab %s: %v", strings.Join(args, " "), err)
	}
	return out.String(), notes.String(), cmd.ProcessState.ExitCode()
}

// must runs locklab, which must succeed.
func (s *site) must(args ...string) (stdout string) {
	s.t.Helper()
	out, notes, exit := s.run(args...)
	if exit != 0 {
		s.t.Fatalf("locklab %s: exit status %d: %s", strings.Join(args, " "), exit, notes)
	}
	return out
}

// eventually waits until ok, which says what is still missing, returns "".
func eventually(t *testing.T, ok func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		missing := ok()
		if missing == "" {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("after %v: %s", deadline, missing)
		}
	}
}
