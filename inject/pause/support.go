package pause

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/inject/target"

	"golang.org/x/sys/unix"
)

// Support answers whether this kernel has pidfds (5.3), without which nothing can be
// paused; and what of the methods can be used here.
func (*Fault) Support() (bool, string) {
	fd, err := unix.PidfdOpen(unix.Getpid(), 0)
	if err != nil {
		return false, fmt.Sprintf("open pidfd: %v; kernel 5.3 or later is needed", err)
	}
	unix.Close(fd)
	caps, err := effective()
	if err != nil {
		why := "could not check, " + err.Error()
		return true, methods("yes", why, why)
	}
	// Without the module, or the right to read it, there is no such file.
	scope, _ := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	return true, methods(signals(caps), traces(caps, strings.TrimSpace(string(scope))), freezes(caps))
}

func methods(sigstop, ptrace, freezer string) string {
	return fmt.Sprintf("%s: %s; %s: %s; %s: %s", MethodSIGSTOP, sigstop, MethodPtrace, ptrace, MethodFreezer, freezer)
}

// capabilities is a set of them, one bit each.
type capabilities uint64

func (c capabilities) has(bit int) bool { return c&(1<<bit) != 0 }

func effective() (capabilities, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("read capabilities: %w", err)
	}
	_, rest, _ := strings.Cut(string(b), "CapEff:")
	line, _, _ := strings.Cut(rest, "\n")
	bits, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	if err != nil {
		return 0, fmt.Errorf("read capabilities: %w", err)
	}
	return capabilities(bits), nil
}

func signals(c capabilities) string {
	if !c.has(unix.CAP_KILL) {
		return "yes, of the same user's processes only: no CAP_KILL"
	}
	return "yes"
}

// traces answers by Yama's scope: 0, or no Yama, anybody of the same user; 1 only one's
// own descendants; 2 with the capability only; 3 nobody until the next boot.
func traces(c capabilities, scope string) string {
	switch {
	case scope == "3":
		return "no, kernel.yama.ptrace_scope is 3"
	case c.has(unix.CAP_SYS_PTRACE):
		return "yes"
	case scope == "1", scope == "2":
		return fmt.Sprintf("no, kernel.yama.ptrace_scope is %s and CAP_SYS_PTRACE is missing", scope)
	}
	return "yes, of the same user's processes only: no CAP_SYS_PTRACE"
}

func freezes(c capabilities) string {
	m, err := target.CgroupMount()
	if err != nil {
		return fmt.Sprintf("no, %v", err)
	}
	if !c.has(unix.CAP_SYS_ADMIN) {
		return "no, CAP_SYS_ADMIN is missing, to mark what is frozen"
	}
	if err := unix.Access(m.Dir, unix.W_OK); err != nil {
		return fmt.Sprintf("no, write to %s: %v", m.Dir, err)
	}
	return "yes"
}
