package agent

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// Trouble is why a node could not be reached, as far as what its command said tells.
// ssh, sudo, kubectl, docker and a shell say it in words; no status tells them apart.
type Trouble string

// The troubles. The zero value is one that nobody recognised.
const (
	TroubleCommand Trouble = "command"  // the program of the via is not on this machine
	TroubleName    Trouble = "name"     // the host name, pod or container is not known
	TroubleConnect Trouble = "connect"  // nobody answers there: refused, no route, timed out
	TroubleHostKey Trouble = "host-key" // ssh does not know the host's key, or another one
	TroubleLogin   Trouble = "login"    // ssh is not let in, or not without a password
	TroubleSudo    Trouble = "sudo"     // sudo asks for a password, or does not permit it
	TroubleMissing Trouble = "missing"  // there is no agent on the node
	TroubleExec    Trouble = "exec"     // there is one that cannot be run there
	TroubleNoise   Trouble = "noise"    // something else wrote to stdout
	TroubleOld     Trouble = "old"      // the agent does not know what it was asked for
	TroubleVersion Trouble = "version"  // no version of the protocol in common
	TroubleBusy    Trouble = "busy"     // another agent is at work there
	TroubleSilent  Trouble = "silent"   // no answer within the time
)

// Unreached is a node that could not be reached.
type Unreached struct {
	Argv    []string
	Trouble Trouble
	// Said is the last line that the command wrote to stderr.
	Said string
	err  error
}

func (u *Unreached) Error() string {
	s := fmt.Sprintf("dial agent: %s: %v", strings.Join(u.Argv, " "), u.err)
	if u.Said != "" {
		s += ": " + u.Said
	}
	return s
}

func (u *Unreached) Unwrap() error { return u.err }

// unreached makes the error of a command that did not become an agent's connection: why
// the greeting failed, how the command ended, and what it wrote to stderr.
func unreached(argv []string, err, exit error, stderr string) error {
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	u := &Unreached{Argv: argv, err: err, Said: strings.TrimSpace(lines[len(lines)-1])}
	switch {
	case errors.Is(err, ErrVersion):
		u.Trouble, u.Said = TroubleVersion, ""
	case errors.Is(err, errNoise):
		u.Trouble = TroubleNoise
	default:
		u.Trouble = Recognise(stderr, status(exit))
	}
	if u.Trouble == "" && errors.Is(err, context.DeadlineExceeded) {
		u.Trouble = TroubleSilent
	}
	return u
}

func status(err error) int {
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return ended.ExitCode()
	}
	return 0
}

// Recognise finds the trouble in what a transport said, and in its exit status where a
// shell's tell more.
func Recognise(stderr string, status int) Trouble {
	for _, s := range sayings() {
		for _, words := range s.words {
			if strings.Contains(stderr, words) {
				return s.trouble
			}
		}
	}
	switch status { // of a shell, env, sudo, nsenter
	case 126:
		return TroubleExec
	case 127:
		return TroubleMissing
	case 64: // the agent's own
		return TroubleOld
	}
	return ""
}

type saying struct {
	trouble Trouble
	words   []string
}

// sayings are the words of OpenSSH 9, sudo 1.9, dash, bash and busybox, kubectl and
// docker; the first that fits counts, so that what explains more comes first.
func sayings() []saying {
	return []saying{
		{TroubleHostKey, []string{"Host key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED"}},
		{TroubleLogin, []string{"Permission denied (", "Too many authentication failures", "error: You must be logged in", "(Unauthorized)", "(Forbidden)"}},
		{TroubleName, []string{"Could not resolve hostname", "(NotFound)", "No such container", "no such host"}},
		{TroubleConnect, []string{"Connection refused", "Connection timed out", "No route to host", "Network is unreachable", "kex_exchange_identification", "Cannot connect to the Docker daemon"}},
		{TroubleSudo, []string{"a password is required", "a terminal is required", "no tty present", "is not in the sudoers", "is not allowed to execute", "may not run sudo"}},
		{TroubleBusy, []string{ErrBusy.Error()}},
		{TroubleExec, []string{"Exec format error", "exec format error", "cannot execute binary file", "Permission denied", "permission denied"}},
		{TroubleMissing, []string{"command not found", "lockaudit-agent: not found", "No such file or directory", "no such file or directory", "executable file not found"}},
	}
}
