package hook

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// What is kept of a command's output, and for how long a child of it that holds
// its output open is listened to, once the command itself has ended.
const (
	maxOutput = 4 << 10
	drain     = 100 * time.Millisecond
	maxShown  = 300 // characters in one line of a report
)

// result is how a command ended. As an error it says the same.
type result struct {
	role   string
	end    string // "exit status 1"
	output string
	err    error // nil: exit status 0
}

func (r result) String() string {
	s := r.role + " command: " + r.end
	if r.output != "" {
		s += fmt.Sprintf(", output %q", r.output)
	}
	return s
}

func (r result) Error() string { return r.String() }
func (r result) Unwrap() error { return r.err }

// run executes one command and waits for its end, at most the timeout.
//
// It ends with this process: the kernel kills it, because the next guard will run
// the revert command, which must not meet an inject command that is at work. That
// signal is tied to the thread that starts it, so the thread stays.
func (p Params) run(ctx context.Context, id, role string, argv []string) result {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		done <- p.execute(ctx, id, role, argv)
	}()
	return <-done
}

func (p Params) execute(ctx context.Context, id, role string, argv []string) result {
	r := result{role: role}
	fail := func(err error) result {
		r.end, r.err = err.Error(), err
		return r
	}
	in, err := os.Open(os.DevNull)
	if err != nil {
		return fail(err)
	}
	defer in.Close()
	from, to, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	defer from.Close()
	env := append([]string{
		"PATH=" + inject.SearchPath, "HOME=/", "LANG=C",
		"LOCKAUDIT_FAULT=" + id, "LOCKAUDIT_HOOK=" + role,
	}, p.Env...)
	raise := ordinary()
	proc, err := os.StartProcess(argv[0], argv, &os.ProcAttr{
		Dir: "/", Env: env, Files: []*os.File{in, to, to},
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	})
	raise()
	to.Close()
	if err != nil {
		return fail(err)
	}
	output := make(chan string, 1)
	go func() { output <- tail(from) }()
	// The group is killed before its leader is waited for: until then its number is
	// nobody else's.
	ended := make(chan struct{})
	killed := make(chan bool, 1)
	go func() {
		select {
		case <-ctx.Done():
			_ = syscall.Kill(-proc.Pid, syscall.SIGKILL)
			killed <- true
		case <-ended:
			killed <- false
		}
	}()
	waitErr := awaitExit(proc.Pid)
	close(ended)
	late := <-killed
	state, err := proc.Wait()
	if err = errors.Join(waitErr, err); err != nil {
		return fail(err)
	}
	_ = from.SetReadDeadline(time.Now().Add(drain))
	r.output, r.end = <-output, state.String()
	switch {
	case late && !state.Success():
		r.end = fmt.Sprintf("killed, it had not ended within %v", p.Timeout)
		r.err = errors.Join(inject.ErrProgram, context.Cause(ctx))
	case !state.Success():
		r.err = inject.ErrProgram
	}
	return r
}

// ordinary gives this thread, and so what it starts, no priority above ordinary programs:
// a guard has the highest there is. The thread gets it back by the function returned.
func ordinary() (raise func()) {
	now, err := unix.Getpriority(unix.PRIO_PROCESS, 0) // 20 minus the nice value
	if err != nil || now <= 20 || unix.Setpriority(unix.PRIO_PROCESS, 0, 0) != nil {
		return func() {}
	}
	return func() { _ = unix.Setpriority(unix.PRIO_PROCESS, 0, 20-now) } // which it had, so it may
}

// awaitExit waits for the end of a child and leaves it a zombie, so that its
// number stays its own.
func awaitExit(pid int) error {
	for {
		const pPID = 1 // P_PID of linux/wait.h
		_, _, e := syscall.Syscall6(syscall.SYS_WAITID, pPID, uintptr(pid), 0, syscall.WEXITED|syscall.WNOWAIT, 0, 0)
		if e == 0 {
			return nil
		}
		if e != syscall.EINTR {
			return fmt.Errorf("wait for process %d: %w", pid, e)
		}
	}
}

// tail reads to the end and returns the last lines as one that can be shown.
func tail(from *os.File) string {
	var kept []byte
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		kept = append(kept, buf[:n]...)
		if len(kept) > maxOutput {
			kept = kept[len(kept)-maxOutput:]
		}
		if err != nil {
			break
		}
	}
	line := strings.Join(strings.Fields(strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(string(kept), "?"))), " ")
	if r := []rune(line); len(r) > maxShown {
		line = "…" + string(r[len(r)-maxShown:])
	}
	return line
}
