package main

import (
	"bufio"
	"context"
	"encoding/json"
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

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/pause"
	"github.com/lockaudit/lockaudit/inject/target"

	"golang.org/x/sys/unix"
)

// The environment of a tree's processes: how many there are, and a file of two
// slots in which the first and the last of them note when they last ran.
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
	for n > 1 && beats[1].Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("ready")
	beat(&beats[0])
}

func playLast() {
	beats, err := mapBeats(os.Getenv(treeFile))
	if err != nil {
		os.Exit(1)
	}
	beat(&beats[1])
}

// beat notes the time every 50 µs, ahead of everything else on the machine.
func beat(slot *atomic.Int64) {
	runtime.LockOSThread()
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1, Flags: unix.SCHED_FLAG_RESET_ON_FORK,
	}, 0)
	for {
		slot.Store(int64(mono()))
		ts := unix.NsecToTimespec(int64(50 * time.Microsecond))
		_ = unix.Nanosleep(&ts, nil)
	}
}

func mapBeats(path string) (*[2]atomic.Int64, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := unix.Mmap(int(f.Fd()), 0, 16, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return (*[2]atomic.Int64)(unsafe.Pointer(&b[0])), nil
}

// procTree is a tree of processes in a cgroup of its own.
type procTree struct {
	root  int
	pids  []int
	beats *[2]atomic.Int64
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
	if err := os.WriteFile(file, make([]byte, 16), 0o600); err != nil {
		return nil, err
	}
	if t.beats, err = mapBeats(file); err != nil {
		return nil, err
	}
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

// pauseTree stops trees through the agent, by every method, and by a shell's loop.
func pauseTree(ctx context.Context, n int) ([]row, error) {
	l, err := newLab(ctx)
	if err != nil {
		return nil, err
	}
	defer l.close()
	c, err := l.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var rows []row
	for _, size := range []int{1, 100, 1000} {
		more, err := pauseTreeOf(ctx, c, size, n)
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

func pauseTreeOf(ctx context.Context, c *agent.Conn, size, n int) ([]row, error) {
	t, err := newTree(size)
	if err != nil {
		return nil, err
	}
	defer t.close()
	var rows []row
	for _, m := range []struct{ method, what, promised string }{
		{pause.MethodSIGSTOP, "SIGSTOP", ""},
		{pause.MethodFreezer, "freezer", map[int]string{1000: "median < 10"}[size]},
		{pause.MethodPtrace, "ptrace", ""},
		{"", "alternative: a shell's loop of kill", ""},
	} {
		var total, apart []float64
		for range 10 * n {
			start := mono()
			undo, err := t.stop(ctx, c, m.method)
			if err != nil {
				return nil, err
			}
			total = append(total, millis(mono()-start))
			apart = append(apart, millis(time.Duration(max(t.beats[1].Load()-t.beats[0].Load(), 0))))
			if err := undo(); err != nil {
				return nil, err
			}
			if err := t.beating(); err != nil {
				return nil, err
			}
		}
		rows = append(rows, row{fmt.Sprintf("%d, %s: order until all are seen stopped", size, m.what), "", total, "ms"})
		if size > 1 {
			rows = append(rows, row{fmt.Sprintf("%d, %s: first stopped to last stopped", size, m.what), m.promised, apart, "ms"})
		}
	}
	return rows, nil
}

// stop stops the tree and returns when every process is seen stopped.
func (t *procTree) stop(ctx context.Context, c *agent.Conn, method string) (undo func() error, err error) {
	if method == "" {
		return t.each("CONT"), errors.Join(t.each("STOP")(), t.allStopped())
	}
	params, err := json.Marshal(pause.Params{PID: t.root, Method: method})
	if err != nil {
		return nil, err
	}
	f, err := c.Inject(ctx, inject.Spec{Kind: pause.Kind, For: time.Minute, Params: params})
	return func() error { _, err := c.Revert(ctx, f.ID); return err }, err
}

// each has a shell send a signal to every process.
func (t *procTree) each(signal string) func() error {
	return func() error {
		args := []string{"-c", "for p in \"$@\"; do kill -" + signal + " $p; done", "sh"}
		for _, pid := range t.pids {
			args = append(args, strconv.Itoa(pid))
		}
		return exec.Command("sh", args...).Run()
	}
}

func (t *procTree) allStopped() error {
	for _, pid := range t.pids {
		if _, err := until(pid, true); err != nil {
			return err
		}
	}
	return nil
}

// beating waits until the clocks run again.
func (t *procTree) beating() error {
	first, last := t.beats[0].Load(), t.beats[1].Load()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if t.beats[0].Load() != first && (len(t.pids) == 1 || t.beats[1].Load() != last) {
			return nil
		}
	}
	return errors.New("the tree does not run again")
}
