//go:build vm

package degrade_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/degrade"
	"github.com/lockaudit/lockaudit/inject/injecttest"
	"github.com/lockaudit/lockaudit/lab/vm"

	"github.com/vishvananda/netlink"
)

// shaping is what the tests need; sch_fq_codel is a module on 5.10 only.
var shaping = []string{"veth", "tun", "sch_netem", "sch_prio", "cls_flower", "sch_tbf", "sch_fq_codel"}

// TestVMDegrade runs on both kernels: 6.1 gives fq_codel to interfaces by default,
// 5.10 pfifo_fast.
func TestVMDegrade(t *testing.T) {
	for _, k := range []vm.Kernel{vm.Bookworm, vm.Bullseye} {
		t.Run(string(k), func(t *testing.T) {
			vm.Suite(t, vm.Machine{Kernel: k, Modules: shaping}, []vm.Case{
				{Name: "support", Test: supported},
				{Name: "conformance", Test: func(t *testing.T) {
					injecttest.Run(t, injecttest.Subject{New: func() inject.Fault { return degrade.New() }, Target: conforming})
				}},
				{Name: "effects", Test: effects},
				{Name: "only the peers", Test: onlyThePeers},
				{Name: "protected", Test: protected},
				{Name: "defaults come back", Test: defaultsComeBack},
				{Name: "failure at every step", Test: failureAtEveryStep},
				{Name: "foreign root", Test: TestForeignRoot},
				{Name: "foreign root meanwhile", Test: foreignMeanwhile},
			})
		})
	}
}

// TestVMWithoutNetem: each of the three modules is missed by its name.
func TestVMWithoutNetem(t *testing.T) {
	for missing, modules := range map[string][]string{
		"sch_netem":  {"veth", "sch_prio", "cls_flower"},
		"sch_prio":   {"veth", "sch_netem", "cls_flower"},
		"cls_flower": {"veth", "sch_netem", "sch_prio"},
	} {
		t.Run(missing, func(t *testing.T) {
			vm.Suite(t, vm.Machine{Modules: modules}, []vm.Case{{Name: "is said", Test: func(t *testing.T) {
				ok, why := degrade.New().Support()
				if ok || !strings.Contains(why, missing) {
					t.Errorf("support: %v, %q, want %s", ok, why, missing)
				}
				TestSupport(t)
			}}})
		})
	}
}

func supported(t *testing.T) {
	if ok, why := degrade.New().Support(); !ok || why != "" {
		t.Errorf("support: %v, %q", ok, why)
	}
	TestSupport(t)
}

func conforming(t *testing.T) injecttest.Target {
	a, b := pair(t)
	s := a.spec(time.Minute, degrade.Params{Peers: []string{"10.99.0.2", "fd99:0::2", "10.99.1.0/24"}, Delay: 100 * time.Millisecond, Loss: 10})
	return injecttest.Target{Params: s.Params, Snapshot: a.snapshot, Remove: func() { a.remove(); b.remove() }}
}

func failureAtEveryStep(t *testing.T) {
	a, _ := pair(t)
	before := a.snapshot()
	forced := errors.New("forced")
	for _, step := range []string{"root", "netem", "filters"} {
		for _, other := range []bool{false, true} {
			f := degrade.New().FailAt(step, forced)
			p, err := f.Prepare(testContext(t), a.spec(time.Minute, degrade.Params{Peers: []string{"10.99.0.2"}, Loss: 100}))
			if err != nil {
				t.Fatal(err)
			}
			p.ID = "t"
			if _, err := f.Inject(testContext(t), p); !errors.Is(err, forced) {
				t.Errorf("%s: inject: %v", step, err)
			}
			if _, ok := a.ping("10.99.0.2:7", 300*time.Millisecond); ok != (step != "filters") {
				t.Errorf("%s: the peer is reached: %v", step, ok)
			}
			if other {
				f = degrade.New()
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

// foreignMeanwhile: what somebody sets between check and execution, or in place of
// ours, is neither replaced nor removed.
func foreignMeanwhile(t *testing.T) {
	a, _ := pair(t)
	f := degrade.New()
	p, err := f.Prepare(testContext(t), a.spec(time.Minute, degrade.Params{Peers: []string{"10.99.0.2"}, Loss: 100}))
	if err != nil {
		t.Fatal(err)
	}
	p.ID = "t"
	a.tbf(false)
	theirs := a.snapshot()
	if _, err := f.Inject(testContext(t), p); !errors.Is(err, inject.ErrRefused) {
		t.Errorf("inject in place of somebody else's: %v, want %v", err, inject.ErrRefused)
	}
	if _, err := f.Revert(testContext(t), p); err != nil {
		t.Errorf("revert: %v", err)
	}
	if now := a.snapshot(); now != theirs {
		t.Errorf("theirs is now:\n%s\nand was:\n%s", now, theirs)
	}
	a.links(func(n *netlink.Handle) error {
		l, err := n.LinkByName("eth0")
		if err != nil {
			return err
		}
		return n.QdiscDel(&netlink.Tbf{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(7, 0), Parent: netlink.HANDLE_ROOT}})
	})

	if _, err := f.Inject(testContext(t), p); err != nil {
		t.Fatal(err)
	}
	a.tbf(true)
	theirs = a.snapshot()
	e, err := f.Revert(testContext(t), p)
	if err != nil || !strings.Contains(e.Seen, "tbf 7:") {
		t.Errorf("revert: %+v, %v, want a word about tbf 7:", e, err)
	}
	if now := a.snapshot(); now != theirs {
		t.Errorf("theirs is now:\n%s\nand was:\n%s", now, theirs)
	}
}

// tbf is what somebody else sets on eth0.
func (h *host) tbf(replace bool) {
	h.t.Helper()
	h.links(func(n *netlink.Handle) error {
		l, err := n.LinkByName("eth0")
		if err != nil {
			return err
		}
		q := &netlink.Tbf{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(7, 0), Parent: netlink.HANDLE_ROOT}, Rate: 1e9, Limit: 1e6, Buffer: 1e6}
		if replace {
			return n.QdiscReplace(q)
		}
		return n.QdiscAdd(q)
	})
}
