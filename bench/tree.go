package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/lockaudit/lockaudit/inject/target"

	"golang.org/x/sys/unix"
)

// The environment of a tree's processes: how many there are, and a file that they
// share with the bench.
const (
	treeSize = "LOCKAUDIT_BENCH_TREE"
	treeFile = "LOCKAUDIT_BENCH_BEATS"
)

// playRoot is the first process of a tree. All are its children, the last of them a
// clock like itself, the others sleepers.
func playRoot() {
	n, _ := strconv.Atoi(os.Getenv(treeSize))
	for i := 1; i < n; i++ {
		cmd := exec.Command("sleep", "1000")
		if i == n-1 {
			cmd = exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), benchRole+"=last")
		}
		if err := cmd.Start(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	beats, err := mapBeats(os.Getenv(treeFile))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for n > 1 && beats.last.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("ready")
	beat(&beats.first, beats)
}

func playLast() {
	beats, err := mapBeats(os.Getenv(treeFile))
	if err != nil {
		os.Exit(1)
	}
	beat(&beats.last, beats)
}

// beats is what the first and the last process of a tree share with the bench: when
// they last ran, and after how many nanoseconds they are to note that again.
type beats struct{ first, last, every atomic.Int64 }

const (
	// exactly is how often the clocks tick while it is measured when they stop. They
	// take a third of two cores.
	exactly = 50 * time.Microsecond
	// rarely is how often they do so meanwhile.
	rarely = 2 * time.Millisecond
)

// beat notes the time again and again, ahead of everything else on the machine.
func beat(slot *atomic.Int64, b *beats) {
	runtime.LockOSThread()
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1, Flags: unix.SCHED_FLAG_RESET_ON_FORK,
	}, 0)
	for {
		slot.Store(int64(mono()))
		ts := unix.NsecToTimespec(b.every.Load())
		_ = unix.Nanosleep(&ts, nil)
	}
}

func mapBeats(path string) (*beats, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := unix.Mmap(int(f.Fd()), 0, int(unsafe.Sizeof(beats{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return (*beats)(unsafe.Pointer(&b[0])), nil
}

// procTree is a tree of processes in a cgroup of its own.
type procTree struct {
	root  int
	pids  []int
	beats *beats
	close func()
}

func newTree(n int) (t *procTree, err error) {
	dir, err := os.MkdirTemp("", "lockaudit-bench-tree-")
	if err != nil {
		return nil, err
	}
	t = &procTree{close: func() { os.RemoveAll(dir) }}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	file := filepath.Join(dir, "beats")
	if err := os.WriteFile(file, make([]byte, unsafe.Sizeof(beats{})), 0o600); err != nil {
		return nil, err
	}
	if t.beats, err = mapBeats(file); err != nil {
		return nil, err
	}
	t.beats.every.Store(int64(rarely))
	group, err := newScope()
	if err != nil {
		return nil, err
	}
	t.close = func() { group.Close(); removeScope(group.Name()); os.RemoveAll(dir) }
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), benchRole+"=root", treeSize+"="+strconv.Itoa(n), treeFile+"="+file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, UseCgroupFD: true, CgroupFD: int(group.Fd())}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	t.root = cmd.Process.Pid
	t.close = func() {
		_ = syscall.Kill(-t.root, syscall.SIGKILL)
		_ = cmd.Wait()
		group.Close()
		removeScope(group.Name())
		os.RemoveAll(dir)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("start tree: %q, %w", line, err)
	}
	if line != "ready\n" {
		return nil, fmt.Errorf("start tree: it says %q", line)
	}
	procs, err := os.ReadFile(filepath.Join(group.Name(), "cgroup.procs"))
	if err != nil {
		return nil, fmt.Errorf("start tree: %w", err)
	}
	for _, f := range strings.Fields(string(procs)) {
		pid, _ := strconv.Atoi(f)
		t.pids = append(t.pids, pid)
	}
	if len(t.pids) != n {
		return nil, fmt.Errorf("start tree: %d processes instead of %d", len(t.pids), n)
	}
	return t, nil
}

// newScope makes a cgroup as a container has it.
func newScope() (*os.File, error) {
	m, err := target.CgroupMount()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(m.Dir, fmt.Sprintf("docker-%064x.scope", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	return os.Open(dir)
}

// removeScope waits for what was killed in it.
func removeScope(dir string) {
	for end := time.Now().Add(10 * time.Second); syscall.Rmdir(dir) == syscall.EBUSY && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

// tick sets how often the clocks tick, and waits until they run.
func (t *procTree) tick(every time.Duration) error {
	t.beats.every.Store(int64(every))
	first, last := t.beats.first.Load(), t.beats.last.Load()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if t.beats.first.Load() != first && (len(t.pids) == 1 || t.beats.last.Load() != last) {
			return nil
		}
	}
	return errors.New("the tree does not run again")
}

// apart is how long after one clock the other has ticked for the last time.
func (t *procTree) apart() time.Duration {
	if len(t.pids) == 1 {
		return 0
	}
	return time.Duration(t.beats.last.Load() - t.beats.first.Load()).Abs()
}
