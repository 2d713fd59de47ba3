package crash_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/crash"
	"github.com/lockaudit/lockaudit/inject/target/systemdtest"
)

func unitSpec(unit string, down time.Duration) inject.Spec {
	return inject.Spec{Kind: crash.Kind, For: time.Minute, Patience: 20 * time.Second,
		Params: json.RawMessage(fmt.Sprintf(`{"target":{"unit":%q},"down_for":%d}`, unit, down))}
}

// TestUnit: a real systemd starts the server again, by itself or on request, and
// the server is the unit's and not the agent's.
func TestUnit(t *testing.T) {
	systemdtest.Run(t, func(t *testing.T, m *systemdtest.Machine) {
		for _, c := range []struct {
			unit, exec, restart string
			down                time.Duration
		}{
			{"plain.service", "/bin/sleep 1000", "no", 0},
			{"down.service", "/bin/sleep 1000", "no", 200 * time.Millisecond},
			{"always.service", "/bin/sleep 1000", "always", 0},
			{"limited.service", "/bin/sleep 1000", "no\n[Unit]\nStartLimitBurst=2\nStartLimitIntervalSec=1h", 0},
			// Two that are alike, neither the other's child: systemd knows which is the server.
			{"twins.service", "/bin/sh -c '(/bin/sleep 1000 &); exec /bin/sleep 1000'", "no", 0},
		} {
			old := m.Start(t, c.unit, "[Service]\nExecStart="+c.exec+"\nRestart="+c.restart+"\n")
			// Started is not yet executed.
			await(t, "it sleeps", func() bool {
				line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", old))
				return err == nil && string(line) == "/bin/sleep\x001000\x00"
			})
			for i := range 3 {
				f := newFault()
				p := prepare(t, f, unitSpec(c.unit, c.down), fmt.Sprint(i))
				if !strings.Contains(strings.Join(p.Objects, "\n"), "unit "+c.unit) {
					t.Errorf("%s: %q", c.unit, p.Objects)
				}
				if e, err := f.Inject(ctx(t), p); err != nil {
					t.Fatalf("%s, kill %d: %+v, %v", c.unit, i, e, err)
				}
				g := f
				if i == 1 {
					g = newFault() // from the plan alone
				}
				e, err := g.Revert(ctx(t), p)
				now := m.MainPID(t, c.unit)
				if err != nil || now == 0 || now == old || !strings.Contains(e.Seen, fmt.Sprintf("runs as process %d", now)) {
					t.Fatalf("%s, restart %d: main process %d, was %d: %+v, %v", c.unit, i, now, old, e, err)
				}
				old = now // which Revert has seen with the server's program
			}
		}
		// A command beside systemd would make two of it.
		s := unitSpec("plain.service", 0)
		s.Params = json.RawMessage(`{"target":{"unit":"plain.service"},"restart":{"argv":["/bin/sleep","1000"]}}`)
		if _, err := newFault().Prepare(ctx(t), s); err == nil || !strings.Contains(err.Error(), "systemd starts again") {
			t.Errorf("a restart command for a unit: %v", err)
		}
	})
}
