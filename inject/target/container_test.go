package target_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target"
	"github.com/lockaudit/lockaudit/inject/target/systemdtest"
)

// runIn starts a program in a cgroup, as a container's runtime does.
func runIn(t *testing.T, group string, argv ...string) int {
	t.Helper()
	if err := os.MkdirAll(group, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(group)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	return startWith(t, cmd)
}

func id(beginning string) string { return beginning + strings.Repeat("0", 64-len(beginning)) }

func TestByContainer(t *testing.T) {
	root := systemdtest.NewGroup(t)
	mine := fmt.Sprintf("%08x", os.Getpid()) // no other test's
	a, b := id("aaaa"+mine), id("bbbb"+mine)
	common := fmt.Sprintf("c%07x", os.Getpid())
	for digit, where := range map[string]string{
		"1": "system.slice/docker-%s.scope", "2": "kubepods.slice/pod1.slice/cri-containerd-%s.scope",
		"3": "machine.slice/libpod-%s.scope/container", "4": "kubepods.slice/crio-%s.scope", "5": "docker/%s", "6": "kubepods/burstable/pod1/%s",
	} {
		id := id(common + digit)
		group := filepath.Join(root, strings.Replace(where, "%s", id, 1))
		pid := runIn(t, group, "sleep", "1000")
		got := want(t, target.Selector{Container: id}, pid)
		whole := strings.TrimSuffix(group, "/container")
		if got.Container != id || !strings.HasSuffix(whole, got.Group) || got.Group == "" || !strings.HasSuffix(got.Group, filepath.Base(whole)) {
			t.Errorf("%s: %+v", where, got)
		}
		want(t, target.Selector{Container: common + digit}, pid)
	}
	// What watches over a container is not in it.
	runIn(t, filepath.Join(root, "crio-conmon-"+a+".scope"), "sleep", "1000")
	refused(t, target.Selector{Container: a}, target.ErrNone)

	first := runIn(t, filepath.Join(root, "docker-"+a+".scope"), "sleep", "1000")
	runIn(t, filepath.Join(root, "docker-"+b+".scope"), "sleep", "1000")
	refused(t, target.Selector{Container: mine}, target.ErrNone) // the middle of an id is not its beginning
	refused(t, target.Selector{Container: common}, inject.ErrRefused, "6 containers fit", "sleep 1000")

	// A second process that was sent in: which of the two is it?
	runIn(t, filepath.Join(root, "docker-"+a+".scope"), "sleep", "2000")
	refused(t, target.Selector{Container: a}, inject.ErrRefused, "2 processes fit", "process "+strconv.Itoa(first)+" ", "sleep 2000")
}

// TestContainerInit: with a pid namespace, the container's pid 1 is meant, and not
// a shell that was sent in.
func TestContainerInit(t *testing.T) {
	root := systemdtest.NewGroup(t)
	id := id(fmt.Sprintf("dddd%08x", os.Getpid()))
	group := filepath.Join(root, "docker-"+id+".scope")
	runIn(t, group, "sleep", "1000")
	dir, err := os.Open(group)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command("sh", "-c", "sleep 1000 & echo; wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, UseCgroupFD: true, CgroupFD: int(dir.Fd()), Cloneflags: syscall.CLONE_NEWPID}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	pid := startWith(t, cmd)
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	want(t, target.Selector{Container: id}, pid)
}
