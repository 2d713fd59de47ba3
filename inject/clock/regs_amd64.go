package clock

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// stackLook is how much of each stack is searched for a way back into the stub. A
// signal handler that interrupted the stub and then called deeper than that is not
// seen.
const stackLook = 16 << 10

// within checks that no thread is inside the stub or may come back into it: is about
// to execute something in one of the ranges, or has an address of it on its stack (as a
// return address, or saved by the kernel for a signal handler). A number that only
// looks like one costs another try. Otherwise it fails with errBusy.
func (s *stopped) within(m *memory, ranges ...[2]int) error {
	inside := func(word uint64) bool {
		for _, r := range ranges {
			if offset := word - uint64(m.base); offset >= uint64(r[0]) && offset < uint64(r[1]) {
				return true
			}
		}
		return false
	}
	stack := make([]byte, stackLook)
	for tid := range s.threads {
		var regs unix.PtraceRegs
		if err := unix.PtraceGetRegs(tid, &regs); errors.Is(err, unix.ESRCH) {
			continue // killed
		} else if err != nil {
			return fmt.Errorf("read registers of thread %d: %w", tid, err)
		}
		if inside(regs.Rip) {
			return fmt.Errorf("thread %d is in the code that is to be changed: %w", tid, errBusy)
		}
		n, _ := m.f.ReadAt(stack, int64(regs.Rsp)) // as far as the stack goes
		for b := stack[:n&^7]; len(b) >= 8; b = b[8:] {
			if inside(le.Uint64(b)) {
				return fmt.Errorf("thread %d may return to the code that is to be changed: %w", tid, errBusy)
			}
		}
	}
	return nil
}
