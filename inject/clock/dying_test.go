package clock_test

import (
	"errors"
	"os/exec"
	"testing"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/clock"
)

// TestDying: whatever the files of a process answer that is just ending, no permission
// among others, it is gone.
func TestDying(t *testing.T) {
	for range 200 {
		cmd := exec.Command("true")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		s, err := inject.ReadStat(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		p := inject.Process{PID: cmd.Process.Pid, StartTime: s.StartTime}
		over := make(chan struct{})
		go func() {
			defer close(over)
			_ = cmd.Wait()
		}()
		for ended := false; !ended; {
			select {
			case <-over:
				ended = true // and one look more
			default:
			}
			if _, err := clock.Ahead(p); err != nil && !errors.Is(err, inject.ErrGone) {
				t.Errorf("%v, want %v", err, inject.ErrGone)
			}
		}
	}
}
