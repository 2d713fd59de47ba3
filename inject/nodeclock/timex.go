package nodeclock

import (
	"fmt"
	"math"
	"time"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// timex is the part of struct timex that the fault changes, or that a step resets.
type timex struct {
	Freq     int64 `json:"freq"` // 2^-16 ppm
	Tick     int64 `json:"tick"` // µs between ticks of 1/100 s: 10000
	Status   int32 `json:"status"`
	MaxError int64 `json:"max_error"`
	EstError int64 `json:"est_error"`
}

// writable are the bits of the status that adjtimex sets; the rest says how it is.
const writable = unix.STA_PLL | unix.STA_PPSFREQ | unix.STA_PPSTIME | unix.STA_FLL | unix.STA_INS | unix.STA_DEL | unix.STA_UNSYNC | unix.STA_FREQHOLD

func readTimex() (timex, error) {
	var t unix.Timex // no modes: it only reads
	if _, err := unix.Adjtimex(&t); err != nil {
		return timex{}, fmt.Errorf("read clock: %w", err)
	}
	return timex{t.Freq, t.Tick, t.Status, t.Maxerror, t.Esterror}, nil
}

// ppm is how much faster than CLOCK_MONOTONIC_RAW the clock runs.
func (t timex) ppm() float64 { return float64(t.Tick-10_000)*100 + float64(t.Freq)/65536 }

// rate is the frequency and tick for a clock that is drift ppm faster than t. The
// frequency reaches 500 ppm either way, the tick goes in steps of 100 ppm.
func (t timex) rate(drift float64) (freq, tick int64, err error) {
	want := t.ppm() + drift
	tick = 10_000
	if math.Abs(want) > 500 {
		tick += int64(math.Round(want / 100))
	}
	if tick < 9000 || tick > 11_000 {
		return 0, 0, fmt.Errorf("drift %g ppm and the clock's own %g are more than the kernel's tick can do: %w", drift, t.ppm(), inject.ErrRefused)
	}
	return int64(math.Round((want - float64(tick-10_000)*100) * 65536)), tick, nil
}

func setRate(freq, tick int64) error {
	t := unix.Timex{Modes: unix.ADJ_FREQUENCY | unix.ADJ_TICK, Freq: freq, Tick: tick}
	if _, err := unix.Adjtimex(&t); err != nil {
		return fmt.Errorf("set rate of the clock: %w", err)
	}
	return nil
}

// setStatus sets the writable bits and the errors, and the unit in which others read
// the clock, which a step by nanoseconds changes.
func setStatus(s timex) error {
	t := unix.Timex{Modes: unix.ADJ_STATUS | unix.ADJ_MAXERROR | unix.ADJ_ESTERROR, Status: s.Status & writable, Maxerror: s.MaxError, Esterror: s.EstError}
	if s.Status&unix.STA_NANO == 0 {
		t.Modes |= unix.ADJ_MICRO
	} else {
		t.Modes |= unix.ADJ_NANO
	}
	if _, err := unix.Adjtimex(&t); err != nil {
		return fmt.Errorf("set status of the clock: %w", err)
	}
	return nil
}

// stepBy adds to the clock, in one system call: nothing is lost between a reading
// and a setting.
func stepBy(d time.Duration) error {
	sec, nsec := int64(d/time.Second), int64(d%time.Second)
	if nsec < 0 {
		sec, nsec = sec-1, nsec+int64(time.Second)
	}
	t := unix.Timex{Modes: unix.ADJ_SETOFFSET | unix.ADJ_NANO}
	t.Time.Sec, t.Time.Usec = sec, nsec // Usec are nanoseconds with ADJ_NANO
	if _, err := unix.Adjtimex(&t); err != nil {
		return fmt.Errorf("step the clock by %v: %w", d, err)
	}
	return nil
}

// canSetTime looks for CAP_SYS_TIME, which a container's root does not have.
func canSetTime() error {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if err := unix.Capget(&h, &d[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	if d[0].Effective&(1<<unix.CAP_SYS_TIME) == 0 || !inject.MachineRoot() {
		return fmt.Errorf("CAP_SYS_TIME is needed: %w", inject.ErrUnsupported)
	}
	return nil
}
