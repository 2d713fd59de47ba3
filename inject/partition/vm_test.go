//go:build vm

package partition_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/injecttest"
	"github.com/lockaudit/lockaudit/inject/partition"
	"github.com/lockaudit/lockaudit/lab/vm"
)

var (
	nftModules     = []string{"veth", "nf_tables", "nft_queue", "nft_socket", "nft_fwd_netdev", "sch_htb"}
	forwardModules = []string{"veth", "nf_tables", "nft_fwd_netdev", "sch_htb"}
)

// old adds what is a module of its own before 5.13.
func old(modules []string) []string { return append([]string{"nft_counter"}, modules...) }

// TestVMKernelWithoutNftables: a kernel that lacks nf_tables, or a part of it, and has
// no way to load it says so before anything is done.
func TestVMKernelWithoutNftables(t *testing.T) {
	for name, m := range map[string]vm.Machine{
		"no netfilter netlink": {Modules: []string{"veth"}},
		"no nf_tables":         {Modules: []string{"veth", "nfnetlink"}},
		"no counter":           {Kernel: vm.Bullseye, Modules: nftModules},
	} {
		t.Run(name, func(t *testing.T) {
			vm.Suite(t, m, []vm.Case{{Name: "support and inject say what is missing", Test: saysWhatIsMissing}})
		})
	}
}

func saysWhatIsMissing(t *testing.T) {
	before := links(t)
	f := partition.New()
	ok, why := f.Support()
	if ok || !strings.Contains(why, "nf_tables") {
		t.Errorf("support: %v, %q", ok, why)
	}
	// An order that comes although nobody has asked for support is refused as well,
	// and leaves nothing.
	for _, f := range []*partition.Fault{f, partition.New()} {
		p, err := f.Prepare(testContext(t), inject.Spec{Kind: partition.Kind, For: time.Minute, Params: []byte(`{"peers":["10.99.0.2"]}`)})
		if err == nil {
			p.ID = "t"
			_, err = f.Inject(testContext(t), p)
			if _, err := f.Revert(testContext(t), p); err != nil {
				t.Errorf("revert: %v", err)
			}
		}
		if !errors.Is(err, inject.ErrUnsupported) || !strings.Contains(err.Error(), "nf_tables") {
			t.Errorf("prepare and inject: %v, want %v", err, inject.ErrUnsupported)
		}
	}
	if now := links(t); now != before {
		t.Errorf("after it:\n%s\nbefore:\n%s", now, before)
	}
}

func links(t *testing.T) string {
	b, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(b)) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return strings.Join(names, " ")
}

// TestVMKernelWithOwners: what Debian 12 ships passes the whole suite.
func TestVMKernelWithOwners(t *testing.T) {
	vm.Suite(t, vm.Machine{Modules: nftModules}, []vm.Case{
		{Name: "support", Test: TestSupport},
		{Name: "conformance", Test: TestConformance},
		{Name: "directions", Test: TestDirections},
		{Name: "failure at every step", Test: TestFailureAtEveryStep},
	})
}

// TestVMForwarding: a kernel that can load no queues of user space.
func TestVMForwarding(t *testing.T) {
	vm.Suite(t, vm.Machine{Modules: forwardModules}, []vm.Case{
		{Name: "support says what is missing", Test: func(t *testing.T) {
			if ok, why := partition.New().Support(); !ok || !strings.Contains(why, "not for one process") || strings.Contains(why, "direction") {
				t.Errorf("support: %v, %q", ok, why)
			}
		}},
		{Name: "directions", Test: TestDirections},
		{Name: "conformance", Test: TestConformance},
	})
}

// TestVMOldKernelQueue: with queues of user space, 5.10 cuts what leaves as well.
func TestVMOldKernelQueue(t *testing.T) {
	vm.Suite(t, vm.Machine{Kernel: vm.Bullseye, Modules: old([]string{"veth", "nf_tables", "nft_queue"})}, []vm.Case{
		{Name: "directions", Test: TestDirections},
	})
}

// TestVMOldKernel: Debian 11's 5.10 has neither tables with an owner nor the netdev
// egress hook, and here no queues: it says so, refuses what leaves, and cuts what arrives.
func TestVMOldKernel(t *testing.T) {
	vm.Suite(t, vm.Machine{Kernel: vm.Bullseye, Modules: old(forwardModules)}, []vm.Case{
		{Name: "support says what is missing", Test: func(t *testing.T) {
			ok, why := partition.New().Support()
			if !ok || !strings.Contains(why, "5.16") || !strings.Contains(why, "5.12") {
				t.Errorf("support: %v, %q", ok, why)
			}
		}},
		{Name: "what leaves is refused", Test: refusesOut},
		{Name: "what arrives is cut and heals at the deadline, by the kernel alone", Test: healsByTimeout},
		{Name: "conformance", Test: func(t *testing.T) {
			injecttest.Run(t, injecttest.Subject{New: func() inject.Fault { return partition.New() }, Target: targetIn})
		}},
	})
}

func refusesOut(t *testing.T) {
	a, _ := pair(t)
	before := a.snapshot()
	f := partition.New()
	f.Support()
	if _, err := f.Prepare(testContext(t), a.spec(time.Minute, partition.Params{Peers: []string{"10.99.0.2"}})); !errors.Is(err, inject.ErrUnsupported) {
		t.Errorf("prepare of both directions: %v, want %v", err, inject.ErrUnsupported)
	}
	// Nobody has asked for support: the order asks itself.
	f = partition.New()
	p, err := f.Prepare(testContext(t), a.spec(time.Minute, partition.Params{Peers: []string{"10.99.0.2"}}))
	if err == nil {
		p.ID = "t"
		_, err = f.Inject(testContext(t), p)
		if _, err := f.Revert(testContext(t), p); err != nil {
			t.Errorf("revert: %v", err)
		}
	}
	if !errors.Is(err, inject.ErrUnsupported) {
		t.Errorf("inject of both directions: %v, want %v", err, inject.ErrUnsupported)
	}
	if now := a.snapshot(); now != before {
		t.Errorf("after it:\n%s\nbefore:\n%s", now, before)
	}
}

func healsByTimeout(t *testing.T) {
	a, b := pair(t)
	e := echo(b, "udp", "10.99.0.2:0")
	effect, _ := a.cut(partition.New(), "t", time.Second, partition.Params{Peers: []string{"10.99.0.2"}, Direction: "in"})
	if !strings.Contains(effect.Seen, "not owned") {
		t.Errorf("inject: %q does not say that the table has no owner", effect.Seen)
	}
	if a.ping(e.addr, 100*time.Millisecond) {
		t.Error("not cut")
	}
	await(t, func() bool { return a.ping(e.addr, 100*time.Millisecond) })
}

func targetIn(t *testing.T) injecttest.Target {
	a, b := pair(t)
	s := a.spec(time.Minute, partition.Params{Peers: []string{"10.99.0.2", "fd99::2", "10.98.0.0/24"}, Direction: "in"})
	return injecttest.Target{Params: s.Params, Snapshot: a.snapshot, Remove: func() { a.remove(); b.remove() }}
}
