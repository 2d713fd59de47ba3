package partition_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/injecttest"
	"github.com/lockaudit/lockaudit/inject/partition"
	"github.com/lockaudit/lockaudit/inject/target"
)

// These have the processes that hold a fault work in the same way.
const (
	noOwner    = "PARTITION_TEST_NO_OWNER"
	forwarding = "PARTITION_TEST_FORWARDING"
)

func TestMain(m *testing.M) {
	if os.Getenv(talker) != "" {
		talk()
		return
	}
	if to := os.Getenv(pipeTo); to != "" {
		pipe(to)
		return
	}
	if os.Getenv(withoutNft) != "" {
		revertWithoutNft()
		return
	}
	// They wait much more than they work, each in namespaces of its own.
	testing.Init()
	_ = flag.Set("test.parallel", "8")
	injecttest.Main(m, func() inject.Fault {
		switch {
		case os.Getenv(noOwner) != "":
			return partition.NewWithoutOwner()
		case os.Getenv(forwarding) != "":
			return partition.NewForwarding()
		}
		return partition.New()
	})
}

func TestConformance(t *testing.T) {
	t.Parallel()
	injecttest.Run(t, injecttest.Subject{New: func() inject.Fault { return partition.New() }, Target: crowded, KernelUndoes: true, Parallel: true})
}

// TestConformanceWithoutOwner: as on a kernel before 5.12, where the death of the
// guard leaves a table that a later process removes by its mark.
func TestConformanceWithoutOwner(t *testing.T) {
	t.Parallel()
	injecttest.Run(t, injecttest.Subject{New: func() inject.Fault { return partition.NewWithoutOwner() }, Target: victim, Parallel: true, Env: []string{noOwner + "=1"}})
}

// TestConformanceForwarding: as on a kernel without queues of user space.
func TestConformanceForwarding(t *testing.T) {
	t.Parallel()
	injecttest.Run(t, injecttest.Subject{New: func() inject.Fault { return partition.NewForwarding() }, Target: victim, KernelUndoes: true,
		Parallel: true, Env: []string{forwarding + "=1"}})
}

// TestConformanceFlapping: one that comes and goes, of one process.
func TestConformanceFlapping(t *testing.T) {
	t.Parallel()
	injecttest.Run(t, injecttest.Subject{New: func() inject.Fault { return partition.New() }, Target: flappingVictim, KernelUndoes: true, Parallel: true})
}

func flappingVictim(t *testing.T) injecttest.Target {
	a, b := pair(t)
	p := a.alone()
	s := a.spec(long, partition.Params{Peers: []string{"10.99.0.2", "fd99::2", "10.98.0.0/24"},
		Process: target.Selector{PID: p.pid()}, Period: 100 * time.Millisecond, Duty: 50})
	return injecttest.Target{
		Params: s.Params,
		Snapshot: func() string { // the gate comes and goes
			return regexp.MustCompile(`(?m)^set \S+ gate .*$`).ReplaceAllString(a.snapshot(), "gate")
		},
		Remove: func() { p.end(); a.remove(); b.remove() },
	}
}

func victim(t *testing.T) injecttest.Target {
	a, b := pair(t)
	s := a.spec(long, partition.Params{Peers: []string{"10.99.0.2", "fd99::2", "10.98.0.0/24"}})
	return injecttest.Target{
		Params: s.Params, Snapshot: a.snapshot,
		Remove: func() { a.remove(); b.remove() },
	}
}

// TestDirections sends datagrams each way, by both families, and looks which
// arrive, under every direction.
func TestDirections(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	a.ready6(b)
	before := a.snapshot()
	for _, direction := range []string{"both", "in", "out"} {
		for _, v := range []struct{ name, a, b, peer string }{
			{"IPv4", "10.99.0.1:0", "10.99.0.2:0", "10.99.0.2"},
			{"IPv6", "[fd99::1]:0", "[fd99::2]:0", "fd99::2"},
			{"mapped", "10.99.0.1:0", "10.99.0.2:0", "::ffff:10.99.0.2"},
			{"CIDR", "10.99.0.1:0", "10.99.0.2:0", "10.99.0.0/24"},
			{"CIDR of IPv6", "[fd99::1]:0", "[fd99::2]:0", "fd99::/16"},
			{"everything", "10.99.0.1:0", "10.99.0.2:0", "0.0.0.0/0"},
		} {
			t.Run(direction+" "+v.name, func(t *testing.T) {
				atA, atB := oneWay(a, v.a), oneWay(b, v.b)
				fromA, fromB := a.dial("udp", atB.addr), b.dial("udp", atA.addr)
				self := a.dial("udp", atA.addr)
				// One answer each way first: no resolution of addresses is pending.
				atB.want(t, fromA, true)
				atA.want(t, fromB, true)
				_, heal := a.cut(partition.New(), "t", long, partition.Params{Peers: []string{v.peer}, Direction: direction})
				atB.want(t, fromA, direction == "in")
				atA.want(t, fromB, direction == "out")
				atA.want(t, self, true)
				e := heal()
				atB.want(t, fromA, true)
				atA.want(t, fromB, true)
				for word, dropped := range map[string]bool{"from the peers": direction != "out", "to the peers": direction != "in"} {
					if strings.Contains(e.Seen, word) != dropped || regexp.MustCompile(`[1-9]\d* packets, [1-9]\d* B `+word).MatchString(e.Seen) != dropped {
						t.Errorf("%s: %+v", word, e)
					}
				}
				if e.Count == 0 {
					t.Errorf("nothing was counted: %+v", e)
				}
			})
		}
	}
	if now := a.snapshot(); now != before {
		t.Errorf("after all:\n%s\nbefore:\n%s", now, before)
	}
}

// TestPorts cuts one port of two.
func TestPorts(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	for _, proto := range []string{"", "udp", "tcp"} {
		for _, direction := range []string{"both", "in", "out"} {
			t.Run(proto+" "+direction, func(t *testing.T) {
				cut, other := echo(b, "udp", "10.99.0.2:0"), echo(b, "udp", "10.99.0.2:0")
				var port int
				if _, err := fmt.Sscanf(cut.addr, "10.99.0.2:%d", &port); err != nil {
					t.Fatal(err)
				}
				_, heal := a.cut(partition.New(), "t", long, partition.Params{Peers: []string{"10.99.0.2"}, Ports: []int{port, 1}, Proto: proto, Direction: direction})
				if a.ping(cut.addr, 300*time.Millisecond) != (proto == "tcp") {
					t.Errorf("the cut port: want an answer: %v", proto == "tcp")
				}
				if !a.ping(other.addr, hang) {
					t.Error("the other port is cut")
				}
				heal()
				if !a.ping(cut.addr, hang) {
					t.Error("not healed")
				}
			})
		}
	}
}

// TestProtected keeps endpoints and the SSH connection, and refuses an order to
// cut exactly them, or oneself.
func TestProtected(t *testing.T) {
	a, b := pair(t)
	kept, lost := echo(b, "udp", "10.99.0.2:0"), echo(b, "udp", "10.99.0.2:0")
	_, heal := a.cut(partition.New(), "t", long, partition.Params{Peers: []string{"10.99.0.0/24"}, Protect: []string{kept.addr}})
	if !a.ping(kept.addr, hang) {
		t.Error("a protected endpoint is cut off")
	}
	if a.ping(lost.addr, 300*time.Millisecond) {
		t.Error("another endpoint is not cut off")
	}
	heal()

	server := echo(b, "tcp", "10.99.0.2:0")
	c, d := a.dial("tcp", server.addr), a.dial("tcp", server.addr)
	var port, local int
	if _, err := fmt.Sscanf(server.addr+" "+c.LocalAddr().String(), "10.99.0.2:%d 10.99.0.1:%d", &port, &local); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSH_CONNECTION", fmt.Sprintf("10.99.0.2 %d 10.99.0.1 %d", port, local))
	_, heal = a.cut(partition.New(), "t", long, partition.Params{Peers: []string{"10.99.0.2"}})
	if !roundTrip(c, hang) {
		t.Error("the SSH connection is cut off")
	}
	if roundTrip(d, 300*time.Millisecond) {
		t.Error("another connection is not cut off")
	}
	heal()

	for name, p := range map[string]partition.Params{
		"a protected endpoint":   {Peers: []string{"10.99.0.2"}, Protect: []string{"10.99.0.2:22"}},
		"its port":               {Peers: []string{"10.99.0.2"}, Protect: []string{"10.99.0.2:22"}, Ports: []int{22}},
		"a protected address":    {Peers: []string{"::ffff:10.99.0.2"}, Protect: []string{"10.99.0.2"}, Ports: []int{1}},
		"its own address":        {Peers: []string{"10.99.0.1"}},
		"its own IPv6":           {Peers: []string{"fd99::1"}},
		"loopback":               {Peers: []string{"127.0.0.1"}},
		"a network of loopback":  {Peers: []string{"127.1.0.0/16"}},
		"IPv6 loopback":          {Peers: []string{"::1"}},
		"the unspecified":        {Peers: []string{"0.0.0.0"}},
		"more peers than may be": {Peers: addresses(100_000)},
	} {
		if _, err := partition.New().Prepare(testContext(t), a.spec(long, p)); !isRefused(err) {
			t.Errorf("%s: %v, want %v", name, err, inject.ErrRefused)
		}
	}
	if _, err := partition.New().Prepare(testContext(t), a.spec(long, partition.Params{Peers: []string{"10.99.0.2"}, Ports: []int{23}, Protect: []string{"10.99.0.2:22"}})); err != nil {
		t.Errorf("another port of a protected address: %v", err)
	}
}

func TestBadParams(t *testing.T) {
	t.Parallel()
	for _, p := range []string{
		`{"peers":[]}`, `{"peers":["etcd-1"]}`, `{"peers":["10.0.0.1/33"]}`, `{"peers":["10.0.0.256"]}`, `{"peers":["fe80::1%eth0"]}`,
		`{"peers":["10.0.0.1"],"ports":[0]}`, `{"peers":["10.0.0.1"],"ports":[65536]}`, `{"peers":["10.0.0.1"],"proto":"icmp"}`,
		`{"peers":["10.0.0.1"],"direction":"up"}`, `{"peers":["10.0.0.1"],"protect":["a:22"]}`, `{"peers":["::ffff:0:0/90"]}`,
		`{"peers":["10.0.0.1"],"netns":"/dev/null"}`, `{"peers":["10.0.0.1"],"netns":"/proc/self/ns/mnt"}`, `{"peers":["10.0.0.1"],"netns":"/no/such"}`,
		`{"peers":["10.0.0.1"],"netns":{"pid":0}}`, `{"peers":["10.0.0.1"],"netns":{"pid":4194303}}`, `{"peers":["10.0.0.1"],"netns":{"pid":1,"x":1}}`,
	} {
		if _, err := partition.New().Prepare(testContext(t), inject.Spec{Kind: partition.Kind, For: time.Second, Params: json.RawMessage(p)}); err == nil {
			t.Errorf("prepare accepted %s", p)
		} else if strings.ContainsRune(err.Error(), '\n') {
			t.Errorf("%s: more than one line: %v", p, err)
		}
	}
}
