package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/lockaudit/lockaudit/inject/target"

	"github.com/google/nftables"
)

// inScope puts a process into a control group of its own that is named as systemd names
// those of units; leave removes it after the process.
func inScope(pid int) (leave func(), err error) {
	m, err := target.CgroupMount()
	if err != nil {
		return func() {}, err
	}
	dir := filepath.Join(m.Dir, fmt.Sprintf("lockaudit-bench-%d.scope", pid))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return func() {}, fmt.Errorf("make control group: %w", err)
	}
	return func() { _ = os.Remove(dir) }, os.WriteFile(filepath.Join(dir, "cgroup.procs"), fmt.Append(nil, pid), 0)
}

// thawed looks at the kernel's own word on the group of a process.
func thawed(pid int, _ string) bool {
	m, err := target.CgroupMount()
	if err != nil {
		return false
	}
	b, err := os.ReadFile(filepath.Join(m.Dir, fmt.Sprintf("lockaudit-bench-%d.scope", pid), "cgroup.events"))
	return err == nil && strings.Contains(string(b), "frozen 0")
}

// released: no table is left in the network of a process.
func released(pid int, _ string) bool {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return false
	}
	defer ns.Close()
	c, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
	if err != nil {
		return false
	}
	tables, err := c.ListTables()
	return err == nil && len(tables) == 0
}
