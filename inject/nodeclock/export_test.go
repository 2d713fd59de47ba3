package nodeclock

import (
	"time"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// FailAt has Inject fail after a step.
func (f *Fault) FailAt(step string, err error) *Fault {
	f.step = func(name string) error {
		if name == step {
			return err
		}
		return nil
	}
	return f
}

// Reading is the clocks at one instant, in nanoseconds.
type Reading = sample

// Read reads them.
func Read() (Reading, error) { return readClocks() }

// Off is how far the clock is from where it would be without the plan.
func Off(p inject.Plan) (time.Duration, error) {
	u, err := decodeUndo(p.Undo)
	if err != nil {
		return 0, err
	}
	now, err := readClocks()
	return time.Duration(now.Real - u.untouched(now)), err
}

// Synchronise is what an NTP client says to the kernel once it has set the clock.
func Synchronise() error {
	t, err := readTimex()
	if err != nil {
		return err
	}
	t.Status &^= unix.STA_UNSYNC
	t.MaxError, t.EstError = 0, 0
	return setStatus(t)
}

// StepBy, SetRate and State are what somebody else does and sees.
func StepBy(d time.Duration) error   { return stepBy(d) }
func SetRate(freq, tick int64) error { return setRate(freq, tick) }
func State() (freq, tick int64, status int32, err error) {
	t, err := readTimex()
	return t.Freq, t.Tick, t.Status, err
}
