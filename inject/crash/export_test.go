package crash

import "github.com/lockaudit/lockaudit/inject"

// WithCmdline are the processes with this command line.
func WithCmdline(line string) (out []int) {
	_ = processes(func(p inject.Process, _ inject.Stat) bool {
		if b, err := cmdlineOf(p.PID); err == nil && string(b) == line {
			out = append(out, p.PID)
		}
		return true
	})
	return out
}
