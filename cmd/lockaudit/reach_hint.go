package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/audit"
)

// reachHint says what to do about a node that could not be reached; empty if nothing of
// it is known.
func reachHint(err error) string {
	var u *agent.Unreached
	if !errors.As(err, &u) {
		return ""
	}
	node := "NODE"
	var at *audit.Unreachable
	if errors.As(err, &at) {
		node = at.Node
	}
	return troubleHint(u.Trouble, node, u.Argv)
}

// troubleHint is advice for one kind of trouble.
func troubleHint(t agent.Trouble, node string, argv []string) string {
	via := strings.Join(argv[:1], " ")
	push := "lockaudit push PLAN " + node
	switch t {
	case agent.TroubleCommand:
		return fmt.Sprintf("%s is the first word of the node's via in the plan: install it here, or write its path", via)
	case agent.TroubleName:
		return "check the host, pod or container in the node's via, and ~/.ssh/config"
	case agent.TroubleConnect:
		return "is the node up, and can this machine reach it there? try the node's via by hand, with true behind it"
	case agent.TroubleHostKey:
		return "log in there once by hand with the same command and compare the fingerprint; nobody is asked during an audit"
	case agent.TroubleLogin:
		return "no password is asked for during an audit: give a key to ssh-agent or ~/.ssh/config, and check the user in the node's via"
	case agent.TroubleSudo:
		return "nobody is there to type a password: permit exactly the agent with NOPASSWD in sudoers, or leave sudo out of the node's via"
	case agent.TroubleMissing:
		return push + " copies the agent there; if it lies where PATH does not lead, write its path as agent: [/path/lockaudit-agent]"
	case agent.TroubleExec:
		return "the agent there is for another architecture, or may not be executed; " + push + " compares the architecture and copies the right one"
	case agent.TroubleNoise:
		return "something there prints to stdout before the agent does, mostly a shell's start-up file; it must be silent where no terminal is"
	case agent.TroubleOld, agent.TroubleVersion:
		return push + " copies the agent that lies beside this lockaudit"
	case agent.TroubleBusy:
		return "another audit is at work on that node; wait for it, or have lockaudit halt end it"
	case agent.TroubleSilent:
		return "what gives the stdio hangs: try the node's via by hand, with true behind it"
	}
	return ""
}
