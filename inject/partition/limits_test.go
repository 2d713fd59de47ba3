package partition_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/partition"
	"github.com/lockaudit/lockaudit/inject/partition/nft"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// TestManyPeers has 10 000 peers of each kind, and looks with another library
// that all are there and with datagrams that the last is cut off.
func TestManyPeers(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(int) string{
		"IPv4":             func(i int) string { return fmt.Sprintf("10.100.%d.%d", i>>8, i&255) },
		"IPv6":             func(i int) string { return fmt.Sprintf("fd98::%x", i+1) },
		"networks":         func(i int) string { return fmt.Sprintf("10.%d.%d.%d/31", 100+i>>14, i>>6&255, i&63*4) },
		"networks of IPv6": func(i int) string { return fmt.Sprintf("fd98:%x::/64", 2*i+1) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			before := a.snapshot()
			p := partition.Params{Peers: []string{"10.99.0.2"}}
			for i := range 10_000 {
				p.Peers = append(p.Peers, make(i))
			}
			e := echo(b, "udp", "10.99.0.2:0")
			effect, heal := a.cut(partition.New(), "t", long, p)
			if effect.Count != 10_001 {
				t.Errorf("inject: %+v", effect)
			}
			if n := a.elements(nftables.TableFamilyINet, "lockaudit-t"); n != 10_001 {
				t.Errorf("%d elements are there, want 10 001", n)
			}
			if a.ping(e.addr, 200*time.Millisecond) {
				t.Error("not cut off")
			}
			heal()
			if now := a.snapshot(); now != before {
				t.Errorf("after the heal:\n%s\nbefore:\n%s", now, before)
			}
		})
	}
}

// elements counts the elements of a table's sets, without the ends of ranges.
func (h *host) elements(family nftables.TableFamily, table string) int {
	h.t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(int(h.file.Fd())), nftables.AsLasting())
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = c.CloseLasting() }()
	sets, err := c.GetSets(&nftables.Table{Family: family, Name: table})
	if err != nil {
		h.t.Fatal(err)
	}
	n := 0
	for _, s := range sets {
		elements, err := c.GetSetElements(s)
		if err != nil {
			h.t.Fatal(err)
		}
		for _, e := range elements {
			if !e.IntervalEnd {
				n++
			}
		}
	}
	return n
}

// TestOverlapping peers count once and all of them are cut off.
func TestOverlapping(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	e := echo(b, "udp", "10.99.0.2:0")
	effect, heal := a.cut(partition.New(), "t", long, partition.Params{Peers: []string{
		"10.99.0.0/25", "10.99.0.2", "10.99.0.2", "::ffff:10.99.0.2", "10.99.0.64/26", "10.99.0.128/25", "10.99.0.0/31", "10.99.2.0/24"}})
	if effect.Count != 2 {
		t.Errorf("inject: %+v, want the ranges 10.99.0.0-255 and 10.99.2.0-255", effect)
	}
	if a.ping(e.addr, 200*time.Millisecond) {
		t.Error("not cut off")
	}
	heal()
}

// TestEndsByItself: nobody reverts, as if everybody were stopped, and it ends at
// the deadline. With hosts and networks.
func TestEndsByItself(t *testing.T) {
	t.Parallel()
	for _, peer := range []string{"10.99.0.2", "10.99.0.0/24"} {
		for _, owner := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s owner=%v", peer, owner), func(t *testing.T) {
				a, b := pair(t)
				e := echo(b, "udp", "10.99.0.2:0")
				f := partition.New()
				if !owner {
					f = partition.NewWithoutOwner()
				}
				const d = 700 * time.Millisecond
				_, heal := a.cut(f, "t", d, partition.Params{Peers: []string{peer}})
				start := time.Now()
				for limit := 5 * time.Millisecond; !a.ping(e.addr, limit); limit = limit * 11 / 10 { // a busy machine answers late
					if time.Since(start) > hang {
						t.Fatal("it does not end")
					}
				}
				if took := time.Since(start); took < d-20*time.Millisecond {
					t.Errorf("it ended after %v, and was ordered for %v", took, d)
				} else {
					t.Logf("ended %v after the deadline", took-d)
				}
				heal() // of what has ended already
				if s := a.snapshot(); strings.Contains(s, "lockaudit-") {
					t.Errorf("left over:\n%s", s)
				}
			})
		}
	}
}

// TestForeignTable of our name is neither used nor removed, in either family.
func TestForeignTable(t *testing.T) {
	t.Parallel()
	for _, family := range []nftables.TableFamily{nftables.TableFamilyINet, nftables.TableFamilyNetdev} {
		a, _ := pair(t)
		c, err := nftables.New(nftables.WithNetNSFd(int(a.file.Fd())), nftables.AsLasting())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.CloseLasting() }()
		table := c.AddTable(&nftables.Table{Family: family, Name: "lockaudit-t"})
		c.AddChain(&nftables.Chain{Name: "plan-0123", Table: table})
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		before := a.snapshot()
		f := partition.New()
		if family == nftables.TableFamilyNetdev {
			f = partition.NewForwarding()
		}
		p, err := f.Prepare(testContext(t), a.spec(long, partition.Params{Peers: []string{"10.99.0.2"}}))
		if err != nil {
			t.Fatal(err)
		}
		p.ID = "t"
		if _, err := f.Inject(testContext(t), p); !isRefused(err) {
			t.Errorf("inject: %v, want %v", err, inject.ErrRefused)
		}
		for _, f := range []*partition.Fault{f, partition.New()} {
			if e, err := f.Revert(testContext(t), p); err != nil {
				t.Errorf("revert: %+v, %v", e, err)
			}
			if now := a.snapshot(); now != before {
				t.Errorf("after revert:\n%s\nbefore:\n%s", now, before)
			}
		}
	}
}

// TestNamespaceOfAnotherProcess: a plan whose namespace has gone, and whose name
// leads to another one now, touches neither that nor ours.
func TestNamespaceOfAnotherProcess(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	link := t.TempDir() + "/ns"
	point := func(h *host) {
		_ = os.Remove(link)
		if err := os.Symlink(fmt.Sprintf("/proc/%d/ns/net", h.pid()), link); err != nil {
			t.Fatal(err)
		}
	}
	point(a)
	s := a.spec(long, partition.Params{Peers: []string{"10.99.0.77"}})
	s.Params = []byte(`{"peers":["10.99.0.77"],"netns":"` + link + `"}`)
	f := partition.New()
	p, err := f.Prepare(testContext(t), s)
	if err != nil {
		t.Fatal(err)
	}
	p.ID = "t"
	point(b)
	before := b.snapshot()
	if _, err := f.Inject(testContext(t), p); !errors.Is(err, inject.ErrGone) {
		t.Errorf("inject: %v, want %v", err, inject.ErrGone)
	}
	point(a)
	if _, err := f.Inject(testContext(t), p); err != nil {
		t.Error(err)
	}
	point(b) // the name leads elsewhere; the namespace itself is found
	if e, err := partition.New().Revert(testContext(t), p); err != nil || !strings.Contains(e.Seen, "removed") {
		t.Errorf("revert: %+v, %v", e, err)
	}
	if strings.Contains(a.snapshot(), "lockaudit-") || b.snapshot() != before {
		t.Errorf("after revert:\n%s\n\n%s", a.snapshot(), b.snapshot())
	}
	if _, err := f.Revert(testContext(t), p); err != nil {
		t.Error(err)
	}
}

// TestNeverInOurNamespace: the test's own namespace has no table of ours while
// another namespace is cut off, also when many at once are.
func TestNeverInOurNamespace(t *testing.T) {
	own := func() string {
		c, err := nftables.New()
		if err != nil {
			t.Fatal(err)
		}
		tables, err := c.ListTables()
		if err != nil {
			t.Fatal(err)
		}
		var s []string
		for _, x := range tables {
			s = append(s, x.Name)
		}
		return strings.Join(s, " ")
	}
	var hosts []*host
	for range 4 {
		a, _ := pair(t)
		hosts = append(hosts, a)
	}
	before := own()
	f := partition.New()
	done := make(chan error)
	for i, h := range hosts {
		s := h.spec(long, partition.Params{Peers: []string{"10.99.0.2"}})
		go func() {
			done <- func() error {
				for n := range 10 {
					p, err := f.Prepare(context.Background(), s)
					if err != nil {
						return err
					}
					p.ID = fmt.Sprintf("t%d-%d", i, n)
					_, err = f.Inject(context.Background(), p)
					_, err2 := f.Revert(context.Background(), p)
					if err := errors.Join(err, err2); err != nil {
						return err
					}
				}
				return nil
			}()
		}()
	}
	for range hosts {
		for waiting := true; waiting; {
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
				waiting = false
			default:
				if now := own(); now != before {
					t.Fatalf("in our namespace: %s", now)
				}
			}
		}
	}
}

// TestInterfaces: one that is down is no obstacle, and is cut once it is up; so is
// one that appears later. Only where what leaves is forwarded the latter is not, and
// the revert says so.
func TestInterfaces(t *testing.T) {
	t.Parallel()
	for _, f := range []*partition.Fault{partition.New(), partition.NewForwarding()} {
		a, b := pair(t)
		cable(a, b, "eth2", 2)
		a.set("eth2", false)
		at2, before := oneWay(b, "10.99.2.2:0"), a.snapshot()
		_, heal := a.cut(f, "t", long, partition.Params{Peers: []string{"10.99.0.2", "10.99.2.2", "10.99.3.2"}, Direction: "out"})
		a.set("eth2", true)
		at2.want(t, a.dial("udp", at2.addr), false)
		forwards := strings.Contains(before+a.snapshot(), "chain lockaudit-t out-a-eth0")
		plug(a, b, "eth3", 3)
		at3 := oneWay(b, "10.99.3.2:0")
		if forwards {
			await(t, func() bool { return at3.arrives(a.dial("udp", at3.addr)) })
		} else {
			at3.want(t, a.dial("udp", at3.addr), false)
		}
		if e := heal(); strings.Contains(e.Seen, "eth3") != forwards || strings.Contains(e.Seen, "eth2") {
			t.Errorf("revert: %+v", e)
		}
		await(t, func() bool { return at2.arrives(a.dial("udp", at2.addr)) && at3.arrives(a.dial("udp", at3.addr)) })
	}
}

// TestOwnerNumberIsNotUsedAgain: the kernel removes what a closed socket owned by
// its number, later, and would remove the next partition.
func TestOwnerNumberIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	seen := map[uint32]bool{}
	for range 20 {
		_, heal := a.cut(partition.New(), "t", long, partition.Params{Peers: []string{"10.99.0.2"}})
		a.in(func() error {
			c, err := nft.Dial()
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			there, owner, err := c.Table(nft.INet, "lockaudit-t")
			if !there || seen[owner] || owner == uint32(os.Getpid()) {
				t.Errorf("table there: %v, owner %d, before %v", there, owner, seen)
			}
			seen[owner] = true
			return err
		})
		heal()
	}
}

// TestKilledOwner measures nothing; it shows that the death of the process is
// what heals, before anybody reverts.
func TestKilledOwner(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	e := echo(b, "udp", "10.99.0.2:0")
	_, heal := a.cut(partition.New(), "t", long, partition.Params{Peers: []string{"10.99.0.2"}})
	if a.ping(e.addr, 100*time.Millisecond) {
		t.Error("not cut off")
	}
	c, err := nftables.New(nftables.WithNetNSFd(int(a.file.Fd())), nftables.AsLasting())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.CloseLasting() }()
	c.DelTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "lockaudit-t"})
	if err := c.Flush(); !isErrno(err, syscall.EPERM) {
		t.Errorf("another process deletes the table: %v, want %v", err, syscall.EPERM)
	}
	c.FlushRuleset()
	if err := c.Flush(); err != nil {
		t.Errorf("flush ruleset: %v", err)
	}
	if a.ping(e.addr, 100*time.Millisecond) {
		t.Error("flush ruleset healed it")
	}
	heal()
}

// countMarked counts what leaves with a mark, in a table of somebody else's.
func (h *host) countMarked(mark uint32) func() uint64 {
	h.t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(int(h.file.Fd())), nftables.AsLasting())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.CloseLasting() })
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyNetdev, Name: "foreign"})
	chain := c.AddChain(&nftables.Chain{Name: "out", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookEgress, Priority: nftables.ChainPriorityFilter, Device: "eth0"})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Cmp{Register: 1, Data: binary.NativeEndian.AppendUint32(nil, mark)}, &expr.Counter{}}})
	if err := c.Flush(); err != nil {
		h.t.Fatal(err)
	}
	return func() uint64 {
		rules, err := c.GetRules(table, chain)
		if err != nil || len(rules) != 1 {
			h.t.Fatal(rules, err)
		}
		return rules[0].Exprs[2].(*expr.Counter).Packets
	}
}
