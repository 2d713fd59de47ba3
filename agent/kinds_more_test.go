package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject/hold"
	"github.com/lockaudit/lockaudit/inject/netns"
	"github.com/lockaudit/lockaudit/inject/partition"
	"github.com/lockaudit/lockaudit/inject/pause"
	"github.com/lockaudit/lockaudit/inject/target"
	"github.com/lockaudit/lockaudit/inject/target/systemdtest"
)

// stutterSubject is looked at for some periods, and so often that nobody misses every
// stop who on a busy machine looks seldom: stopped at any time is disturbed.
func stutterSubject(t testing.TB) subject {
	const period = 20 * time.Millisecond
	pid := victim(t)
	return subject{
		kind: pause.Kind, params: always(pause.Params{PID: pid, Period: period, Duty: 0.5}),
		snapshot: func() string {
			seen := false
			end := time.Now().Add(15 * period)
			for n := 0; !seen && (n < 100 || time.Now().Before(end)); n++ {
				seen = stopped(pid)
				time.Sleep(time.Millisecond)
			}
			return fmt.Sprintf("stopped now and then=%v gone=%v", seen, gone(pid))
		},
		alike: func(string) { stop(t, pid) },
	}
}

// flappingSubject is a process that is alone in its control group.
func flappingSubject(t testing.TB) subject {
	procs := filepath.Join(systemdtest.NewGroup(t), "cgroup.procs") // removed after its process
	s, space := spaceSubject(t)
	if err := os.WriteFile(procs, fmt.Append(nil, space.pid), 0); err != nil {
		t.Fatal(err)
	}
	var p partition.Params
	if err := json.Unmarshal(s.params(0), &p); err != nil {
		t.Fatal(err)
	}
	p.Netns = netns.Name{}
	p.Process = target.Selector{PID: space.pid, StartTime: startTime(t, space.pid)}
	p.Period, p.Duty = 200*time.Millisecond, 50
	s.params = always(p)
	return s
}

func holdSubject(t testing.TB) subject {
	s, _ := spaceSubject(t)
	s.kind = hold.Kind
	return s
}
