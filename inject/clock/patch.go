package clock

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// mark is how a stub names its plan: by a hash of all that makes the plan this one.
func mark(p inject.Plan) uint64 {
	sum := sha256.Sum256(append([]byte(p.ID+"\x00"), p.Undo...))
	return le.Uint64(sum[:])
}

func (r raw) bytes() []byte {
	var b []byte
	for _, v := range []int64{r.Expires, r.Seconds, r.Nanosecond, r.Rate, r.Anchor} {
		b = le.AppendUint64(b, uint64(v))
	}
	return b
}

// neutral is a record whose lease is over.
func neutral() raw { return raw{Expires: -1 << 63} }

// monotonicNow reads CLOCK_MONOTONIC, on which the lease in the stub runs:
// CLOCK_MONOTONIC_RAW has no cheap form in the vDSO.
func monotonicNow() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("clock_gettime: " + err.Error()) // it exists on every Linux
	}
	return ts.Nano()
}

// patch gives a process the stub. inherited: it has this plan's already, from the
// parent that forked it.
//
// The stub is written first and whole, then the entries: killed anywhere in between,
// the target has entries that work.
func (f *Fault) patch(ctx context.Context, p inject.Process, own *image, plan uint64, r raw) (inherited bool, err error) {
	if wears(p, own, plan) {
		return true, nil // and need not be stopped
	}
	ahead, err := monotonicAhead(p)
	if err != nil {
		return false, err
	}
	if r.Expires > 0 {
		r.Expires += int64(ahead)
	}
	err = whileStopped(ctx, p, false, func(s *stopped) error {
		m, err := openMemory(p, true)
		if err != nil {
			return err
		}
		defer m.close()
		have, err := m.look(own)
		if err != nil {
			return fmt.Errorf("process %d: %w", p.PID, err)
		}
		if have.patched() {
			inherited = have.plan == plan
			if !inherited {
				return fmt.Errorf("process %d: its clock is skewed by another fault already: %w", p.PID, inject.ErrRefused)
			}
			return nil
		}
		// Half-way through the bytes that become the jump nobody may stand.
		var entries [][2]int
		for _, at := range own.entries {
			entries = append(entries, [2]int{at + 1, at + jumpSize})
		}
		if err := s.within(m, entries...); err != nil {
			return err
		}
		area := append([]byte(nil), own.stub...)
		le.PutUint64(area[stubPlan:], plan)
		copy(area[stubRecords:], r.bytes())
		if err := m.write(own.area, area); err != nil {
			return err
		}
		f.step("patch stub")
		for i, at := range own.entries {
			if err := m.write(at, own.jump(i)); err != nil {
				return err
			}
			f.step(fmt.Sprint("patch entry ", i))
		}
		return nil
	})
	return inherited, err
}

// wears reports that the plan's stub is in effect in a process.
func wears(p inject.Process, own *image, plan uint64) bool {
	m, err := openMemory(p, false)
	if err != nil {
		return false
	}
	defer m.close()
	have, err := m.look(own)
	return err == nil && have.jumps == len(own.entries) && have.plan == plan
}

// change puts another record into force, while the process runs on: the record is
// complete before the selector names it.
func change(p inject.Process, own *image, plan uint64, r raw) error {
	ahead, err := monotonicAhead(p)
	if err != nil {
		return err
	}
	if r.Expires > 0 {
		r.Expires += int64(ahead)
	}
	m, err := openMemory(p, true)
	if err != nil {
		return err
	}
	defer m.close()
	area, err := m.read(own.area, len(own.stub))
	if err != nil || !own.isStub(area) || le.Uint64(area[stubPlan:]) != plan {
		return err
	}
	next := (area[stubSelector] + 1) % records
	if err := m.write(own.area+stubRecords+int(next)*recordSize, r.bytes()); err != nil {
		return err
	}
	return m.write(own.area+stubSelector, []byte{next})
}

// The ring of stub.S.
const (
	records    = 4
	recordSize = 40
)

// restore puts a process's vDSO back as it was, if it has this plan's stub. The
// entries come first; the stub itself goes only when nobody is in it or may come
// back into it. Where that does not happen in time, left is true: what remains is
// code that nobody can get to any more.
func (f *Fault) restore(ctx context.Context, p inject.Process, own *image, plan uint64) (left bool, err error) {
	entries := false // as they were
	err = whileStopped(ctx, p, true, func(s *stopped) error {
		m, err := openMemory(p, true)
		if err != nil {
			return err
		}
		defer m.close()
		area, err := m.read(own.area, len(own.stub))
		if err != nil || !own.isStub(area) || le.Uint64(area[stubPlan:]) != plan {
			return err
		}
		for i, at := range own.entries {
			now, err := m.read(at, jumpSize)
			if err == nil && bytes.Equal(now, own.jump(i)) { // and nobody else's change
				err = m.write(at, own.clean[at:at+jumpSize])
			}
			if err != nil {
				return err
			}
			f.step(fmt.Sprint("restore entry ", i))
		}
		if have, err := m.look(own); err != nil || have.patched() {
			return errors.Join(err, fmt.Errorf("process %d: %d entries are still patched", p.PID, have.jumps))
		}
		entries = true
		if err := s.within(m, [2]int{own.area, own.area + len(own.stub)}); err != nil {
			return err
		}
		if err := m.write(own.area, own.clean[own.area:own.area+len(own.stub)]); err != nil {
			return err
		}
		f.step("restore stub")
		now, err := m.read(0, len(own.clean))
		if err == nil && !bytes.Equal(now, own.clean) {
			err = fmt.Errorf("process %d: its vDSO is not as it was", p.PID)
		}
		return err
	})
	if entries && errors.Is(err, errBusy) {
		return true, nil
	}
	return false, err
}

// ticksNow is the time since boot in clock ticks, as field 22 of /proc/PID/stat
// counts it: 100 a second for every program.
func ticksNow() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // then every process counts as young, the safe side
	}
	return uint64(time.Duration(ts.Nano()) / (10 * time.Millisecond))
}
