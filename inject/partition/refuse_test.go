package partition_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/partition"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestSupport(t *testing.T) {
	a, _ := pair(t)
	before := a.snapshot()
	a.in(func() error {
		if ok, why := partition.New().Support(); !ok || why != "" {
			t.Errorf("support: %v, %q", ok, why)
		}
		return nil
	})
	if now := a.snapshot(); now != before {
		t.Errorf("after support:\n%s\nbefore:\n%s", now, before)
	}
}

// TestWithoutCapability: an ordinary user gets a reason, and nothing happens.
func TestWithoutCapability(t *testing.T) {
	a, _ := pair(t)
	s := a.spec(long, partition.Params{Peers: []string{"10.99.0.2"}})
	s.Params = []byte(`{"peers":["10.99.0.2"]}`)
	a.in(func() error { // the thread and its rights end with this
		h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&h, &none[0]); err != nil {
			return err
		}
		f := partition.New()
		if _, err := f.Prepare(testContext(t), s); !errors.Is(err, inject.ErrUnsupported) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
			t.Errorf("prepare: %v", err)
		}
		if ok, why := f.Support(); ok || !strings.Contains(why, "CAP_NET_ADMIN") {
			t.Errorf("support: %v, %q", ok, why)
		}
		return nil
	})
}

// TestFailureAtEveryStep leaves nothing behind, reverted by the same process or,
// from the plan, by another.
func TestFailureAtEveryStep(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	e := echo(b, "udp", "10.99.0.2:0")
	before := a.snapshot()
	forced := errors.New("forced")
	for _, step := range []string{"held", "part", "cut"} {
		for _, f := range []*partition.Fault{partition.New(), partition.NewWithoutOwner(), partition.NewForwarding()} {
			for _, other := range []bool{false, true} {
				p, err := f.FailAt(step, forced).Prepare(testContext(t), a.spec(long, partition.Params{Peers: append(addresses(2000), "10.99.0.2", "10.98.0.0/16")}))
				if err != nil {
					t.Fatal(err)
				}
				p.ID = "t"
				if _, err := f.Inject(testContext(t), p); !errors.Is(err, forced) {
					t.Errorf("%s: inject: %v", step, err)
				}
				if cut := !a.ping(e.addr, 200*time.Millisecond); cut != (step == "cut") {
					t.Errorf("%s: cut off: %v", step, cut)
				}
				if other {
					if _, err := partition.New().Revert(testContext(t), p); err != nil {
						t.Errorf("%s: revert by another: %v", step, err)
					}
				}
				if _, err := f.Revert(testContext(t), p); err != nil {
					t.Errorf("%s: revert: %v", step, err)
				}
				if now := a.snapshot(); now != before {
					t.Errorf("%s: after revert:\n%s\nbefore:\n%s", step, now, before)
				}
			}
		}
	}
}

// TestInterfaceGone between check and execution: kernels before 6.16 refuse the
// last step, later ones wait for an interface of that name. Neither leaves a trace.
func TestInterfaceGone(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	before := a.snapshot()
	a.links(func(h *netlink.Handle) error {
		return h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "short0"}, PeerName: "short1"})
	})
	f := partition.NewForwarding()
	p, err := f.Prepare(testContext(t), a.spec(long, partition.Params{Peers: []string{"10.99.0.2"}}))
	if err != nil {
		t.Fatal(err)
	}
	p.ID = "t"
	a.links(func(h *netlink.Handle) error {
		l, err := h.LinkByName("short0")
		if err != nil {
			return err
		}
		return h.LinkDel(l)
	})
	if _, err := f.Inject(testContext(t), p); err != nil && !strings.Contains(err.Error(), "short") {
		t.Errorf("inject: %v", err)
	}
	if _, err := f.Revert(testContext(t), p); err != nil {
		t.Errorf("revert: %v", err)
	}
	if now := a.snapshot(); now != before {
		t.Errorf("after revert:\n%s\nbefore:\n%s", now, before)
	}
}
