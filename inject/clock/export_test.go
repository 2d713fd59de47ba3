package clock

import (
	"github.com/lockaudit/lockaudit/inject"
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
