package inject

import (
	"fmt"
	"strings"
)

// Protected are the processes that no fault may stop or kill: those that keep the
// node and the way to it alive.
type Protected struct{ above map[int]bool }

// NewProtected looks up this process (the guard), its agent, and all above:
// hitting one of them would hit the hand that holds the fault, or the way to it.
func NewProtected() (Protected, error) {
	above, err := Above()
	if err != nil {
		return Protected{}, err
	}
	p := Protected{above: map[int]bool{}}
	for _, pid := range above {
		p.above[pid] = true
	}
	return p, nil
}

// Refuse fails with ErrRefused if the process is one of them.
func (p Protected) Refuse(pid int, s Stat) error {
	why := ""
	switch {
	case pid == 1:
		why = "is init"
	case s.Kernel():
		why = "is a kernel thread"
	case p.above[pid]:
		why = "is the agent, its guard or an ancestor of them"
	case protectedName(s.Comm):
		why = "keeps the node and the way to it alive"
	default:
		return nil
	}
	return fmt.Errorf("process %d (%s) %s: %w", pid, s.Comm, why, ErrRefused)
}

// protectedName knows remote access, init and what runs containers. The kernel
// cuts names at 15 bytes.
func protectedName(comm string) bool {
	for _, prefix := range []string{"sshd", "systemd", "containerd", "lockaudit-agent", "lockaudit-guard", "lockaudit-stand"} {
		if strings.HasPrefix(comm, prefix) {
			return true
		}
	}
	switch comm {
	case "init", "dockerd", "kubelet", "crio", "conmon", "podman", "runc", "dbus-daemon", "dbus-broker":
		return true
	}
	return false
}
