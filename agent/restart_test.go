package agent

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/clock"
	"github.com/lockaudit/lockaudit/inject/pause"
)

// TestTargetRestarts: a supervisor has started the target again in the meantime. What
// was of the old one ends with it, and the new one, which looks just like it, is left
// alone, by an order and by the next guard.
func TestTargetRestarts(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		kind, params string
	}{
		{pause.Kind, `{"target":{"pid":%d}}`},
		{pause.Kind, `{"target":{"pid":%d},"method":"ptrace"}`},
		{clock.Kind, `{"target":{"pid":%d},"offset":1000000000000}`},
	} {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %s lost=%v", x.kind, x.params, lost), func(t *testing.T) {
				c := dial(t, testCommand(t, stateDir(t)))
				old := victim(t)
				f, err := c.Inject(testCtx(t), inject.Spec{Kind: x.kind, For: time.Hour, Params: fmt.Appendf(nil, x.params, old)})
				if err != nil {
					t.Fatal(err)
				}
				kill(old, syscall.SIGKILL)
				within(t, "the target is gone", func() bool { return gone(old) })
				fresh := victim(t)
				stop(t, fresh) // by its supervisor, say, and nobody else may continue it
				if lost {
					kill(c.Hello().GuardPID, syscall.SIGKILL)
					wantNotice(t, c, NoticeReverted, f.ID)
				} else {
					mustRevert(t, c, f.ID)
				}
				if !stopped(fresh) {
					t.Error("the new process was touched")
				}
				if err := c.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
		}
	}
}
