package partition

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/lockaudit/lockaudit/inject"
)

// flap is a partition that comes and goes; the zero value is one that stays.
type flap struct{ period, on time.Duration }

// leastPhase is the shortest time on or off. The kernel ends elements by its tick,
// which is 4 ms at 250 Hz.
const leastPhase = 20 * time.Millisecond

func newFlap(period time.Duration, duty int) (flap, error) {
	f := flap{period, period * time.Duration(duty) / 100}
	switch {
	case period == 0 && duty == 0:
		return flap{}, nil
	case period <= 0 || duty < 1 || duty > 99:
		return flap{}, fmt.Errorf("period %v and duty %d %%: flapping needs both, and a duty of 1 to 99", period, duty)
	case f.on < leastPhase || period-f.on < leastPhase:
		return flap{}, fmt.Errorf("period %v and duty %d %%: neither on nor off may be shorter than %v", period, duty, leastPhase)
	}
	return f, nil
}

// check refuses a partition that would not come back.
func (f flap) check(whole time.Duration) error {
	if f.period >= whole {
		return fmt.Errorf("period %v is not shorter than the whole partition, %v: %w", f.period, whole, inject.ErrRefused)
	}
	return nil
}

func (f flap) String() string {
	if f.period == 0 {
		return ""
	}
	return fmt.Sprintf("in every %v on for %v and off for %v", f.period, f.on, f.period-f.on)
}

// run opens and shuts the gate until stop is closed or the end has come. Each
// opening ends by itself, in the kernel.
func (h *held) flapping(f flap, end time.Time) {
	defer close(h.flapped)
	tick := time.NewTicker(f.period)
	defer tick.Stop()
	for {
		select {
		case <-h.stop:
			return
		case <-tick.C:
		}
		left := time.Until(end)
		if left <= 0 {
			return
		}
		h.mu.Lock()
		err := h.openGate(min(f.on, left))
		h.mu.Unlock()
		if err != nil {
			h.flapErr = err // told by the revert
			return
		}
		h.phases++
	}
}

// pick draws n of the peers, always the same with one seed.
func pick(list []string, n int, seed uint64) ([]string, error) {
	switch {
	case n == 0 && seed == 0:
		return list, nil
	case n < 1 || n > len(list):
		return nil, fmt.Errorf("pick is %d of %d peers", n, len(list))
	}
	r := rand.New(rand.NewPCG(seed, 0))
	var out []string
	for _, i := range r.Perm(len(list))[:n] {
		out = append(out, list[i])
	}
	return out, nil
}
