package agent

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// lockMemory keeps the guard's memory and the whole of its code from being paged
// out: a fault is reverted also on a node that has run out of memory, or whose disk
// or root file system does not answer, which may well be the fault's own doing. What
// the process touches later is locked from then on, so this costs no more than the
// code, and a guard without a fault does without. Without the permission everything
// stays as it was.
func lockMemory() {
	if !mayLock() || unix.Mlockall(unix.MCL_CURRENT|unix.MCL_FUTURE|unix.MCL_ONFAULT) != nil {
		return
	}
	for _, m := range programPages() {
		if m.code {
			_, _, _ = unix.Syscall(unix.SYS_MLOCK, m.from, m.size, 0) // which reads it in
		}
	}
}

// mayLock asks for all or nothing: under a limit the Go heap, which reserves far
// more than it uses, would one day fail to grow.
func mayLock() bool {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) == nil && limit.Cur == unix.RLIM_INFINITY {
		return true
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	return unix.Capget(&hdr, &caps[0]) == nil && caps[0].Effective&(1<<unix.CAP_IPC_LOCK) != 0
}

// giveBack unmaps what this process used of its program only to start. The pages stay
// in the page cache and come back when they are used.
func giveBack() {
	for _, m := range programPages() {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.from, m.size, unix.MADV_DONTNEED)
	}
}

type mapping struct {
	from, size uintptr
	code       bool
}

// programPages are the read-only mappings of this process's executable.
func programPages() []mapping {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil
	}
	var out []mapping
	for line := range bytes.Lines(maps) {
		f := strings.Fields(string(line))
		if len(f) < 6 || strings.Join(f[5:], " ") != exe {
			continue
		}
		var from, to uintptr
		if _, err := fmt.Sscanf(f[0], "%x-%x", &from, &to); err == nil && (f[1] == "r-xp" || f[1] == "r--p") {
			out = append(out, mapping{from, to - from, f[1] == "r-xp"})
		}
	}
	return out
}
