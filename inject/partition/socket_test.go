package partition_test

import (
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/partition"
)

// TestSocketOfAnotherOrder: of two orders that are prepared at once, the socket that
// waits is the second one's, and the first must not be carried out there.
func TestSocketOfAnotherOrder(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	c, d := pair(t)
	atB, atD := echo(b, "udp", "10.99.0.2:0"), echo(d, "udp", "10.99.0.2:0")
	f := partition.New()
	var plans []inject.Plan
	for _, h := range []*host{a, c} {
		p, err := f.Prepare(testContext(t), h.spec(long, partition.Params{Peers: []string{"10.99.0.2"}}))
		if err != nil {
			t.Fatal(err)
		}
		p.ID = "t"
		plans = append(plans, p)
	}
	if _, err := f.Inject(testContext(t), plans[0]); err != nil {
		t.Fatal(err)
	}
	if a.ping(atB.addr, 300*time.Millisecond) {
		t.Error("the first order's namespace is not cut")
	}
	if !c.ping(atD.addr, hang) {
		t.Error("the second order's namespace is cut by the first")
	}
	if _, err := f.Revert(testContext(t), plans[0]); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return a.ping(atB.addr, 50*time.Millisecond) })
}

// TestDryRunLetsGo: a socket keeps its namespace, and no Inject follows a dry run.
func TestDryRunLetsGo(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	f := partition.New()
	if _, err := f.Prepare(testContext(t), a.spec(long, partition.Params{Peers: []string{"10.99.0.2"}})); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return !f.Spare() })
}
