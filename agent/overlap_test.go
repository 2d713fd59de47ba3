package agent

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/clock"
	"github.com/lockaudit/lockaudit/inject/crash"
	"github.com/lockaudit/lockaudit/inject/pause"
	"github.com/lockaudit/lockaudit/inject/target"
)

// TestSameFaultTwice: the second of the same kind on the same target is refused, and
// then the first is as it was; or they are composed, and then the target is disturbed
// until the last one ends, whichever that is.
func TestSameFaultTwice(t *testing.T) {
	t.Parallel()
	c := dial(t, testCommand(t, stateDir(t)))
	for _, k := range kindCases() {
		for _, first := range []bool{true, false} {
			name := k.name + ", the last one ends first"
			if first {
				name = k.name + ", the first one ends first"
			}
			s := k.make(t)
			before := s.snapshot()
			a, err := c.Inject(testCtx(t), s.spec(time.Hour))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			disturbed := func(when string) {
				t.Helper()
				if s.snapshot() == before {
					t.Errorf("%s: %s, nothing is to be seen of the fault", name, when)
				}
			}
			disturbed("after the first")
			b, err := c.Inject(testCtx(t), s.spec(time.Hour))
			disturbed("after the second")
			switch err {
			case nil:
				if !first {
					a, b = b, a
				}
				mustRevert(t, c, a.ID)
				disturbed("after the end of one")
				mustRevert(t, c, b.ID)
			default:
				if errors.Is(err, ErrRevertFailed) || errors.Is(err, ErrGuardLost) {
					t.Errorf("%s: %v, want a refusal", name, err)
				}
				mustRevert(t, c, a.ID)
			}
			within(t, name+": all is as before", func() bool { return s.snapshot() == before })
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func mustRevert(t *testing.T, c *Conn, id string) {
	t.Helper()
	if _, err := c.Revert(testCtx(t), id); err != nil {
		t.Errorf("revert: %v", err)
	}
}

// TestOverlap has two kinds of fault on one process, begun and ended in every order.
func TestOverlap(t *testing.T) {
	t.Parallel()
	c := dial(t, testCommand(t, stateDir(t)))
	specs := map[string]func(pid int) inject.Spec{
		pause.Kind: func(pid int) inject.Spec { return pauseSpec(pid, time.Hour) },
		clock.Kind: func(pid int) inject.Spec {
			return inject.Spec{Kind: clock.Kind, For: time.Hour, Params: fmt.Appendf(nil, `{"target":{"pid":%d},"offset":%d}`, pid, time.Hour)}
		},
		crash.Kind: func(pid int) inject.Spec {
			p := always(crash.Params{Target: target.Selector{PID: pid}, DownFor: time.Hour})
			return inject.Spec{Kind: crash.Kind, For: time.Hour, Patience: 5 * time.Second, Params: p(0)}
		},
	}
	for one := range specs {
		for other := range specs {
			if one == other {
				continue
			}
			for _, first := range []bool{true, false} {
				name := fmt.Sprintf("%s, then %s, the first ends first=%v", one, other, first)
				s, port := serverSubject(t)
				a, err := c.Inject(testCtx(t), specs[one](serverAt(port)))
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				pid := serverAt(port)
				if pid == 0 {
					pid = 1<<22 - 1 // crashed: nobody is there to be disturbed
				}
				b, err := c.Inject(testCtx(t), specs[other](pid))
				ids := []string{a.ID}
				switch {
				case err == nil && first:
					ids = append(ids, b.ID)
				case err == nil:
					ids = []string{b.ID, a.ID}
				case !errors.Is(err, inject.ErrRefused) && !errors.Is(err, inject.ErrGone):
					t.Errorf("%s: %v, want %v", name, err, inject.ErrRefused)
				}
				for _, id := range ids {
					mustRevert(t, c, id)
				}
				within(t, name+": the server runs", func() bool {
					pid := serverAt(port)
					return pid != 0 && !stopped(pid) && s.snapshot() == "up=true"
				})
				s.alike("") // its end
			}
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
