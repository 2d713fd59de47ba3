package crash

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
)

// TestSameTick: starts of processes are counted in ticks of 10 ms. One that is like the server,
// and was started in the very tick in which that was looked at, is no replacement of it.
func TestSameTick(t *testing.T) {
	seconds := fmt.Sprintf("1000.%d", time.Now().UnixNano())
	start := func() (*exec.Cmd, inject.Process) {
		cmd := exec.Command("sleep", seconds)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
		for end := time.Now().Add(20 * time.Second); !slices.Contains(WithCmdline("sleep\x00"+seconds+"\x00"), cmd.Process.Pid); {
			if time.Now().After(end) {
				t.Fatal("the sleeper shows no command line within 20 s")
			}
		}
		s, err := inject.ReadStat(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		return cmd, inject.Process{PID: cmd.Process.Pid, StartTime: s.StartTime}
	}
	server, p := start()
	var w twin
	var other inject.Process
	for end := time.Now().Add(20 * time.Second); w.Since != other.StartTime || w.Since == 0; {
		if time.Now().After(end) {
			t.Fatal("no start and look in one tick within 20 s")
		}
		_, other = start()
		var err error
		if w, err = newTwin(p, 0); err != nil {
			t.Fatal(err)
		}
		if ticksNow() <= w.Since {
			t.Fatal("the tick of the look is not over: what is killed now may be replaced in it")
		}
	}
	u := undo{Server: p, Twin: w}
	u.Image.Argv = []string{"sleep", seconds}
	_, _ = server.Process.Kill(), server.Wait()
	if found, _, err := u.find(context.Background(), since{}); err != nil || found != nil {
		t.Errorf("process %v, which ran before, is taken for the killed one: %v", found, err)
	}
	_, after := start()
	if found, ready, err := u.find(context.Background(), since{}); err != nil || !ready || *found != after {
		t.Errorf("found %v, %v, %v, want %v", found, ready, err, after)
	}
}
