package etcd_test

import (
	"context"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/etcd"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
)

// TestInspectReadsTheClock: the server lives on this machine, so that its clock is right
// within what the reading says.
func TestInspectReadsTheClock(t *testing.T) {
	s := servers.StartEtcd(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	d, err := etcd.Driver{}.Inspect(ctx, locks.Target{Endpoints: []string{s.Endpoint}, Key: "k"})
	if err != nil || len(d.Members) != 1 {
		t.Fatal(d, err)
	}
	m := d.Members[0]
	if m.Clock == nil || m.Clock.Abs() > m.ClockError || m.ClockError < time.Second/2 {
		t.Errorf("clock %v, off by at most %v; unknown: %q", m.Clock, m.ClockError, d.Unknown)
	}
}
