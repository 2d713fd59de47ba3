//go:build vm

package degrade_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject/degrade"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
)

// effects: each is seen in what arrives. Times have lower bounds only.
func effects(t *testing.T) {
	a, _ := pair(t)
	const peer = "10.99.0.2:7"
	peers := []string{"10.99.0.2"}
	before := a.snapshot()

	revert := a.degrade(degrade.Params{Peers: peers, Delay: 200 * time.Millisecond})
	if d, ok := a.ping(peer, 20*time.Second); !ok || d < 200*time.Millisecond {
		t.Errorf("delay of 200 ms: %v, %v", d, ok)
	}
	if e := revert(); e.Count != 1 || !strings.Contains(e.Seen, "1 packets delivered, 0 dropped") {
		t.Errorf("delay: %+v", e)
	}

	revert = a.degrade(degrade.Params{Peers: peers, Loss: 100})
	if _, ok := a.ping(peer, 500*time.Millisecond); ok {
		t.Error("loss of 100 %: a packet came through")
	}
	if e := revert(); !strings.Contains(e.Seen, "0 packets delivered, 1 dropped") {
		t.Errorf("loss: %+v", e)
	}

	revert = a.degrade(degrade.Params{Peers: peers, Loss: 50})
	if n := len(a.burst(peer, 200)); n < 50 || n > 150 { // 7 standard deviations
		t.Errorf("loss of 50 %%: %d of 200 came back", n)
	}
	revert()

	revert = a.degrade(degrade.Params{Peers: peers, Duplicate: 100})
	if n := len(a.burst(peer, 20)); n != 40 {
		t.Errorf("duplicate 100 %%: %d of 20 came back", n)
	}
	revert()

	revert = a.degrade(degrade.Params{Peers: peers, Delay: 200 * time.Millisecond, Reorder: 50})
	late, last := 0, -1
	for _, i := range a.burst(peer, 50) {
		if i < last {
			late++
		}
		last = i
	}
	if late == 0 {
		t.Error("reorder: 50 packets came in order")
	}
	revert()

	revert = a.degrade(degrade.Params{Peers: peers, Rate: 80_000})
	start := time.Now()
	if n := len(a.burst(peer, 20)); n != 20 { // of 500 B and headers: 10 kB a second
		t.Errorf("rate: %d of 20 came back", n)
	}
	if d := time.Since(start); d < 900*time.Millisecond {
		t.Errorf("rate: 10 kB at 10 kB/s took %v", d)
	}
	revert()
	if now := a.snapshot(); now != before {
		t.Errorf("after all:\n%s\nbefore:\n%s", now, before)
	}
}

// burst sends n datagrams and returns the numbers of those that come back, in their
// order, until none has come for a while.
func (h *host) burst(at string, n int) []int {
	h.t.Helper()
	c := h.dial(at)
	defer c.Close()
	for i := range n {
		if _, err := c.Write(fmt.Appendf(nil, "%-500d", i)); err != nil {
			h.t.Fatal(err)
		}
	}
	var got []int
	b := make([]byte, 2048)
	for {
		_ = c.SetReadDeadline(time.Now().Add(1500 * time.Millisecond))
		k, err := c.Read(b)
		if err != nil {
			return got
		}
		var i int
		if _, err := fmt.Sscan(string(b[:k]), &i); err != nil {
			h.t.Fatal(err)
		}
		got = append(got, i)
	}
}

// onlyThePeers: another address on the same interface, and the other interface,
// are left as they are.
func onlyThePeers(t *testing.T) {
	a, _ := pair(t)
	for name, x := range map[string]struct {
		p         degrade.Params
		lost, not []string
		device    string
	}{
		"an address":      {degrade.Params{Peers: []string{"10.99.0.2"}}, []string{"10.99.0.2:7"}, []string{"10.99.0.3:7", "10.99.1.2:7", "[fd99:0::2]:7"}, "eth0"},
		"IPv6":            {degrade.Params{Peers: []string{"fd99:0::2"}}, []string{"[fd99:0::2]:7"}, []string{"10.99.0.2:7"}, "eth0"},
		"a mapped one":    {degrade.Params{Peers: []string{"::ffff:10.99.0.2"}}, []string{"10.99.0.2:7"}, []string{"10.99.0.3:7"}, "eth0"},
		"a network":       {degrade.Params{Peers: []string{"10.99.1.0/24"}}, []string{"10.99.1.2:7"}, []string{"10.99.0.2:7"}, "eth1"},
		"networks of two": {degrade.Params{Peers: []string{"10.99.0.0/16"}}, []string{"10.99.0.2:7", "10.99.0.3:7", "10.99.1.2:7"}, []string{"[fd99:0::2]:7"}, "eth0 eth1"},
		"its port":        {degrade.Params{Peers: []string{"10.99.0.2"}, Ports: []int{7}}, []string{"10.99.0.2:7"}, []string{"10.99.0.3:7"}, "eth0"},
		"another port":    {degrade.Params{Peers: []string{"10.99.0.2"}, Ports: []int{8}}, nil, []string{"10.99.0.2:7"}, "eth0"},
	} {
		t.Run(name, func(t *testing.T) {
			x.p.Loss = 100
			revert := a.degrade(x.p)
			now := a.snapshot()
			for _, d := range []string{"eth0", "eth1"} {
				if strings.Contains(now, d+" netem") != strings.Contains(x.device, d) {
					t.Errorf("want netem on %s, there is\n%s", x.device, now)
				}
			}
			for _, at := range x.lost {
				if _, ok := a.ping(at, 300*time.Millisecond); ok {
					t.Errorf("%s is reached", at)
				}
			}
			for _, at := range x.not {
				if _, ok := a.ping(at, 20*time.Second); !ok {
					t.Errorf("%s is not reached", at)
				}
			}
			revert()
			for _, at := range append(x.lost, x.not...) {
				if _, ok := a.ping(at, 20*time.Second); !ok {
					t.Errorf("after revert %s is not reached", at)
				}
			}
		})
	}
}

// protected endpoints, and the SSH connection, are left as they are.
func protected(t *testing.T) {
	a, b := pair(t)
	b.echo("10.99.0.2:22")
	revert := a.degrade(degrade.Params{Peers: []string{"10.99.0.0/24"}, Loss: 100, Protect: []string{"10.99.0.2:22", "10.99.0.3"}})
	for at, want := range map[string]bool{"10.99.0.2:22": true, "10.99.0.3:7": true, "10.99.0.2:7": false} {
		d := 20 * time.Second
		if !want {
			d = 300 * time.Millisecond
		}
		if _, ok := a.ping(at, d); ok != want {
			t.Errorf("%s is reached: %v, want %v", at, ok, want)
		}
	}
	revert()
	t.Setenv("SSH_CONNECTION", "10.99.0.2 4000 10.99.0.1 22")
	revert = a.degrade(degrade.Params{Peers: []string{"10.99.0.2"}, Loss: 100})
	defer revert()
	a.links(func(n *netlink.Handle) error {
		l, err := n.LinkByName("eth0")
		if err != nil {
			return err
		}
		all, err := n.QdiscList(l)
		if err != nil {
			return err
		}
		filters, err := n.FilterList(l, all[0].Attrs().Handle)
		if err != nil {
			return err
		}
		for _, f := range filters {
			if f, ok := f.(*netlink.Flower); ok && f.ClassId == all[0].Attrs().Handle|1 {
				if f.SrcPort != 22 || f.DestPort != 4000 || !f.DestIP.Equal([]byte{10, 99, 0, 2}) || f.IPProto == nil || *f.IPProto != nl.IPPROTO_TCP {
					t.Errorf("the SSH connection's filter is %+v", f)
				}
				return nil
			}
		}
		return fmt.Errorf("no filter leaves the SSH connection as it is: %+v", filters)
	})
}
