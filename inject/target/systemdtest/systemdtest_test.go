package systemdtest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/inject"
)

func TestMachine(t *testing.T) {
	here, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv(inside) == "" {
		t.Setenv("OUTSIDE_NET", here)
	}
	Run(t, func(t *testing.T, m *Machine) {
		if os.Getenv("OUTSIDE_NET") == here {
			t.Error("the network namespace is the machine's")
		}
		pid := m.Start(t, "a.service", "[Service]\nExecStart=/bin/sleep 1000\n")
		if comm, err := os.ReadFile("/proc/1/comm"); err != nil || string(comm) != "systemd\n" {
			t.Errorf("pid 1 is %q, %v", comm, err)
		}
		procs, err := os.ReadFile("/sys/fs/cgroup/system.slice/a.service/cgroup.procs")
		if err != nil || string(procs) != strconv.Itoa(pid)+"\n" {
			t.Errorf("a.service is process %d and holds %q, %v", pid, procs, err)
		}
		if err := os.WriteFile("/etc/systemdtest", nil, 0o600); err == nil {
			t.Error("the disk is writable")
		}
		if err := os.WriteFile(filepath.Join(t.TempDir(), "x"), nil, 0o600); err != nil {
			t.Error(err)
		}
	})
}

// TestDiesWithItsKeeper: kill -9 of the test process leaves nothing running, and
// the next machine removes its empty cgroup.
func TestDiesWithItsKeeper(t *testing.T) {
	if os.Getenv("KEEPER") != "" {
		fmt.Println("pid", start(t))
		select {}
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	keeper := exec.Command(exe, "-test.run=^TestDiesWithItsKeeper$")
	keeper.Env = append(os.Environ(), "KEEPER=1")
	out, err := keeper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := keeper.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	pid, number := strings.CutPrefix(strings.TrimSpace(line), "pid ")
	_ = keeper.Process.Kill()
	_ = keeper.Wait()
	if err != nil || !number {
		t.Fatalf("keeper said %q, %v", line, err)
	}
	await(t, "systemd is gone", func() bool {
		n, err := strconv.Atoi(pid)
		s, gone := inject.ReadStat(n)
		return err == nil && (gone != nil || s.Dead())
	})
	group := NewGroup(t)
	left, err := filepath.Glob(filepath.Join(filepath.Dir(group), fmt.Sprintf("%s%d-*", groupPrefix, keeper.Process.Pid)))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
