package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/netns"
	"github.com/lockaudit/lockaudit/inject/partition"
	"github.com/lockaudit/lockaudit/inject/target"
	"github.com/lockaudit/lockaudit/inject/target/systemdtest"
)

// TestOverlapPausePartition: one process is both stopped and cut off, begun and ended in
// every order. Each is in effect until its own end, and neither ends the other.
func TestOverlapPausePartition(t *testing.T) {
	t.Parallel()
	procs := filepath.Join(systemdtest.NewGroup(t), "cgroup.procs") // removed after its process
	s, space := spaceSubject(t)
	if err := os.WriteFile(procs, fmt.Append(nil, space.pid), 0); err != nil {
		t.Fatal(err)
	}
	var p partition.Params
	if err := json.Unmarshal(s.params(0), &p); err != nil {
		t.Fatal(err)
	}
	p.Netns, p.Process = netns.Name{}, target.Selector{PID: space.pid, StartTime: startTime(t, space.pid)}
	before := s.snapshot()
	type fault struct {
		name string
		spec inject.Spec
		on   func() bool
	}
	pause := fault{"pause", pauseSpec(space.pid, time.Hour), func() bool { return stopped(space.pid) }}
	cut := fault{"partition", inject.Spec{Kind: partition.Kind, For: time.Hour, Params: always(p)(0)}, func() bool { return s.snapshot() != before }}
	c := dial(t, testCommand(t, stateDir(t)))
	for _, both := range [][2]fault{{pause, cut}, {cut, pause}} {
		for ends := range both {
			name := fmt.Sprintf("%s, then %s, %s ends first", both[0].name, both[1].name, both[ends].name)
			var ids [2]string
			for i, f := range both {
				g, err := c.Inject(testCtx(t), f.spec)
				if err != nil {
					t.Fatalf("%s: inject %s: %v", name, f.name, err)
				}
				ids[i] = g.ID
				if !both[0].on() || both[1].on() != (i == 1) {
					t.Errorf("%s: after %s: in effect are %v, %v", name, f.name, both[0].on(), both[1].on())
				}
			}
			mustRevert(t, c, ids[ends])
			if both[ends].on() || !both[1-ends].on() {
				t.Errorf("%s: after the first end in effect are %v, %v", name, both[0].on(), both[1].on())
			}
			mustRevert(t, c, ids[1-ends])
			if pause.on() || s.snapshot() != before {
				t.Errorf("%s: stopped %v, tables\n%s\nwere\n%s", name, pause.on(), s.snapshot(), before)
			}
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
