//go:build vm

package degrade_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/degrade"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// defaultsComeBack: the kernel's own disciplines are no obstacle, and after the
// revert they are there as they were.
func defaultsComeBack(t *testing.T) {
	const sysctl = "/proc/sys/net/core/default_qdisc"
	was, err := os.ReadFile(sysctl)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.WriteFile(sysctl, was, 0) }()
	for _, x := range []struct {
		kind   string
		queues int
		want   string
	}{
		{"pfifo_fast", 1, "tap0 pfifo_fast"},
		{"pfifo_fast", 4, "tap0 mq"},
		{"fq_codel", 1, "tap0 fq_codel"},
		{"fq_codel", 4, "tap0 mq"},
	} {
		if err := os.WriteFile(sysctl, []byte(x.kind), 0); err != nil {
			t.Fatal(err)
		}
		a := newHost(t)
		queues := &netlink.Tuntap{}
		a.in(func() (err error) { queues, err = tap(x.queues); return err })
		before := a.snapshot()
		if !strings.Contains(before, x.want) {
			t.Fatalf("there is no %s:\n%s", x.want, before)
		}
		f := degrade.New()
		p, err := f.Prepare(testContext(t), a.spec(time.Minute, degrade.Params{Peers: []string{"10.98.0.2"}, Delay: time.Millisecond}))
		if err != nil {
			t.Fatal(err)
		}
		p.ID = "t"
		if _, err := f.Inject(testContext(t), p); err != nil {
			t.Fatal(err)
		}
		during := a.snapshot()
		if !strings.Contains(during, "tap0 netem") || strings.Count(during, x.kind) != 1 {
			t.Errorf("want netem, and one %s for the rest:\n%s", x.kind, during)
		}
		e, err := f.Revert(testContext(t), p)
		if err != nil || !strings.Contains(e.Seen, "is back") {
			t.Errorf("revert: %+v, %v", e, err)
		}
		if now := a.snapshot(); now != before {
			t.Errorf("after revert:\n%s\nbefore:\n%s", now, before)
		}
		closeQueues(queues)
	}
	changedDefault(t, sysctl)
}

// closeQueues closes the files of an interface's queues. A queue is there as long as its
// file is open: without this the collector would end it at any time.
func closeQueues(l *netlink.Tuntap) {
	for _, f := range l.Fds {
		_ = f.Close()
	}
}

// tap makes an interface with queues in the namespace of this thread.
func tap(queues int) (*netlink.Tuntap, error) {
	n, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer n.Close()
	l := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tap0"}, Mode: netlink.TUNTAP_MODE_TAP, Queues: queues}
	if queues > 1 {
		l.Flags = netlink.TUNTAP_MULTI_QUEUE_DEFAULTS
	} else {
		l.Flags = netlink.TUNTAP_DEFAULTS
	}
	if err := n.LinkAdd(l); err != nil {
		return nil, err
	}
	if err := address(n, "tap0", "10.98.0.1/24"); err != nil {
		return nil, err
	}
	return l, up(n, "tap0")
}

// changedDefault: when the kernel's default itself is another by now, that one comes
// back, and the revert says so.
func changedDefault(t *testing.T, sysctl string) {
	if err := os.WriteFile(sysctl, []byte("pfifo_fast"), 0); err != nil {
		t.Fatal(err)
	}
	a := newHost(t)
	queue := &netlink.Tuntap{}
	a.in(func() (err error) { queue, err = tap(1); return err })
	defer closeQueues(queue)
	f := degrade.New()
	p, err := f.Prepare(testContext(t), a.spec(time.Minute, degrade.Params{Peers: []string{"10.98.0.2"}, Delay: time.Millisecond}))
	if err != nil {
		t.Fatal(err)
	}
	p.ID = "t"
	if _, err := f.Inject(testContext(t), p); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sysctl, []byte("pfifo"), 0); err != nil {
		t.Fatal(err)
	}
	var e inject.Effect
	if e, err = f.Revert(testContext(t), p); err != nil || !strings.Contains(e.Seen, "default there is now pfifo") {
		t.Errorf("revert: %+v, %v", e, err)
	}
}
