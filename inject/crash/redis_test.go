package crash_test

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/crash"
)

// TestRedis: a real server that writes over its command line, of another user.
func TestRedis(t *testing.T) {
	redis, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, redis)
	argv := []string{redis, "--bind", "127.0.0.1", "--port", strconv.Itoa(s.port), "--save", "", "--dir", "/"}
	cmd := exec.Command(argv[0], argv[1:]...)
	if inject.MachineRoot() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{65534, 7}}}
	}
	s.run(t, cmd)
	f := newFault()
	if _, err := f.Prepare(ctx(t), s.spec(0, nil)); !errors.Is(err, inject.ErrUnsupported) || !strings.Contains(err.Error(), "written over its command line") {
		t.Errorf("prepare without a command: %v", err)
	}
	before, old := s.state(), s.pid()
	for i := range 3 {
		p := prepare(t, f, s.spec(time.Minute, &crash.Restart{Argv: argv}), strconv.Itoa(i))
		if _, err := f.Inject(ctx(t), p); err != nil {
			t.Fatal(err)
		}
		g := f
		if i == 1 {
			g = newFault()
		}
		e, err := g.Revert(ctx(t), p)
		if err != nil || s.pid() == old {
			t.Fatalf("revert: %+v, %v; process %d, was %d", e, err, s.pid(), old)
		}
		// The environment cannot be read of a process that wrote over it.
		await(t, "it has its title", func() bool { return cut(s.state()) == cut(before) })
		old = s.pid()
	}
}

func cut(state string) string {
	title, rest, _ := strings.Cut(state, ", env ")
	_, rest, _ = strings.Cut(rest, ", log ")
	return title + rest
}
