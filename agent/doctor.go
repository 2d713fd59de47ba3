package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/agent/trail"
	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// Health is what a node says of itself to whoever only looks.
type Health struct {
	AgentVersion string   `json:"agent_version"`
	Hostname     string   `json:"hostname"`
	Kernel       string   `json:"kernel"`
	Arch         string   `json:"arch"`
	BootID       string   `json:"boot_id"`
	UID          int      `json:"uid"`
	MachineRoot  bool     `json:"machine_root"` // not only root of a user namespace
	Capabilities []string `json:"capabilities,omitempty"`
	StateDir     string   `json:"state_dir"`
	LogDir       string   `json:"log_dir"`
	Limits       Limits   `json:"limits"`
	Halted       *Halt    `json:"halted,omitempty"`
	// Agents are the processes of a running agent: itself and its guard.
	Agents []inject.Process `json:"agents,omitempty"`
	// InEffect are the faults in the journal: of the running agent, or, without one,
	// what was left behind.
	InEffect []Leftover `json:"in_effect,omitempty"`
	Kinds    []Support  `json:"kinds"`
	// Problems keep this node from injecting, or are worth a look, one line each.
	Problems []string `json:"problems,omitempty"`
}

// Leftover is a fault in a journal.
type Leftover struct {
	ID      string   `json:"id"`
	Kind    string   `json:"kind,omitempty"`
	Objects []string `json:"objects,omitempty"`
	// Rebooted: it is of another boot, and nothing of it exists any more.
	Rebooted bool   `json:"rebooted,omitempty"`
	Err      string `json:"err,omitempty"` // the entry cannot be read
}

// LeftBehind reports that something may be in effect and no agent is there for it.
func (h Health) LeftBehind() bool {
	if len(h.Agents) > 0 {
		return false
	}
	for _, l := range h.InEffect {
		if !l.Rebooted {
			return true
		}
	}
	return false
}

// Examine looks at a node. Unlike an agent that starts, it takes no lock, reverts
// nothing and changes nothing, and works beside a running agent.
func Examine(version, stateDir string, limits Limits, faults []inject.Fault) Health {
	h := Health{
		AgentVersion: version, Arch: runtime.GOARCH, UID: os.Geteuid(), MachineRoot: inject.MachineRoot(),
		StateDir: stateDir, LogDir: LogDir(stateDir), Limits: limits, Halted: Halted(stateDir), Agents: holders(stateDir),
	}
	problem := func(format string, args ...any) { h.Problems = append(h.Problems, fmt.Sprintf(format, args...)) }
	var err error
	if h.Hostname, err = os.Hostname(); err != nil {
		problem("read host name: %v", err)
	}
	if h.BootID, err = inject.BootID(); err != nil {
		problem("%v", err)
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err == nil {
		h.Kernel = unix.ByteSliceToString(uts.Release[:])
	}
	if h.Capabilities, err = capabilities(); err != nil {
		problem("%v", err)
	}
	for _, f := range faults {
		h.Kinds = append(h.Kinds, supportOf(f))
	}
	if err := h.journal(); err != nil {
		problem("%v", err)
	}
	if h.Halted != nil {
		problem("%v", *h.Halted)
	}
	if h.LeftBehind() {
		problem("faults were left behind; lockaudit heal reverts them")
	}
	for _, dir := range []string{h.StateDir, h.LogDir} {
		if err := writable(dir); err != nil {
			problem("%v: nothing can be injected", err)
		}
	}
	if chain, err := trail.Read(h.LogDir, func(trail.Record) {}); err != nil {
		problem("%v", err)
	} else if chain.Broken != nil {
		problem("log of orders: %v", *chain.Broken)
	}
	return h
}

func supportOf(f inject.Fault) Support {
	s := Support{Kind: f.Kind()}
	s.Answer, s.Why = inject.Supported(f)
	s.Supported = s.Answer == inject.Yes
	return s
}

func (h *Health) journal() error {
	left, err := (&journal{dir: filepath.Join(h.StateDir, "faults")}).leftovers()
	for _, l := range left {
		x := Leftover{ID: l.id, Kind: l.plan.Spec.Kind, Objects: l.plan.Objects, Rebooted: l.err == nil && l.plan.BootID != h.BootID}
		if l.err != nil {
			x.Err = l.err.Error()
		}
		h.InEffect = append(h.InEffect, x)
	}
	return err
}

// writable says why a file could not be written into a directory, or made there:
// the rights, a read-only or a full disk. The nearest directory that exists counts.
func writable(dir string) error {
	for {
		st, err := os.Stat(dir)
		if errors.Is(err, os.ErrNotExist) && filepath.Dir(dir) != dir {
			dir = filepath.Dir(dir)
			continue
		}
		if err != nil || !st.IsDir() {
			return fmt.Errorf("%s is no directory", dir)
		}
		break
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("write to %s: %w", dir, err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err == nil && fs.Bavail*uint64(fs.Bsize) < maxLine {
		return fmt.Errorf("write to %s: %w", dir, unix.ENOSPC)
	}
	return nil
}

// capabilities are the effective ones that faults ask for.
func capabilities() ([]string, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil, fmt.Errorf("read capabilities: %w", err)
	}
	_, rest, _ := strings.Cut(string(b), "CapEff:")
	line, _, _ := strings.Cut(rest, "\n")
	bits, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	if err != nil {
		return nil, fmt.Errorf("read capabilities: %w", err)
	}
	var out []string
	for _, c := range []struct {
		name string
		bit  int
	}{{"CAP_KILL", unix.CAP_KILL}, {"CAP_NET_ADMIN", unix.CAP_NET_ADMIN}, {"CAP_SYS_PTRACE", unix.CAP_SYS_PTRACE},
		{"CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN}, {"CAP_SYS_NICE", unix.CAP_SYS_NICE}, {"CAP_SYS_TIME", unix.CAP_SYS_TIME}} {
		if bits&(1<<c.bit) != 0 {
			out = append(out, c.name)
		}
	}
	return out, nil
}
