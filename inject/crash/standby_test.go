package crash

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/conformance"
	"github.com/lockaudit/lockaudit/inject"
)

// TestStandbyOfAServerThatLives: its guard died between arming it and the kill. There
// is nothing to start, and it goes; sent away before, it does the same at once.
func TestStandbyOfAServerThatLives(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	addr := conformance.Address(t)
	server := exec.Command(exe, "serve", addr)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = server.Process.Kill(), server.Wait() })
	stat, err := inject.ReadStat(server.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	p := inject.Process{PID: server.Process.Pid, StartTime: stat.StartTime}
	for l, err := listens(p.PID); len(l) == 0; l, err = listens(p.PID) {
		if err != nil || ctx.Err() != nil {
			t.Fatal(err, ctx.Err())
		}
	}
	u := undo{Server: p, Image: image{Exe: exe, Argv: []string{exe, "serve", addr}, Dir: "/", OOM: "0", UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}}
	if u.Twin, err = newTwin(p, 0); err != nil {
		t.Fatal(err)
	}
	for _, orders := range []string{"x", "ax", "", "a"} {
		s, err := startStandby(ctx, "lives", brief{Undo: u, In: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []byte(orders) {
			if err := s.order(o); err != nil {
				t.Fatal(err)
			}
		}
		s.close()
		select {
		case <-s.gone:
		case <-ctx.Done():
			t.Fatalf("%q: the standby does not end", orders)
		}
		// A second server would have ended with status 1: its port is taken.
		if !s.ended.Success() || s.failure() != nil {
			t.Errorf("%q: the standby ended with %v, %v", orders, s.ended, s.failure())
		}
	}
}
