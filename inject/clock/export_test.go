package clock

import (
	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// Entry is the address of a function in a process's vDSO.
func Entry(pid int, function string) (int64, error) {
	own, err := ownImage()
	if err != nil {
		return 0, err
	}
	s, err := inject.ReadStat(pid)
	if err != nil {
		return 0, err
	}
	m, err := openMemory(inject.Process{PID: pid, StartTime: s.StartTime}, false)
	if err != nil {
		return 0, err
	}
	defer m.close()
	return m.base + int64(own.offsets[function]), nil
}

// Ahead is monotonicAhead.
var Ahead = monotonicAhead

// KillAt has this process killed behind a step; unlike a panic, nothing is cleaned up.
func (f *Fault) KillAt(step string) *Fault {
	f.step = func(name string) {
		if name == step {
			_ = unix.Kill(unix.Getpid(), unix.SIGKILL)
			select {} // the signal takes effect on the way back from the call
		}
	}
	return f
}
