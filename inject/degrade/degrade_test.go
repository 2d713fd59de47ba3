package degrade_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/degrade"
	"github.com/lockaudit/lockaudit/inject/injecttest"

	"github.com/vishvananda/netlink"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(controlRole); role != "" {
		if err := playControl(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	injecttest.Main(m, func() inject.Fault { return degrade.New() })
}

// TestSupport: whatever this kernel has, Support and Prepare agree, and neither
// changes anything.
func TestSupport(t *testing.T) {
	a, _ := pair(t)
	before := a.snapshot()
	f := degrade.New()
	ok, why := f.Support()
	_, err := f.Prepare(testContext(t), a.spec(time.Minute, degrade.Params{Peers: []string{"10.99.0.2"}, Delay: time.Millisecond}))
	switch {
	case ok && err != nil:
		t.Errorf("supported, and prepare: %v", err)
	case !ok && (!errors.Is(err, inject.ErrUnsupported) || !strings.Contains(err.Error(), why)):
		t.Errorf("not supported (%s), and prepare: %v, want %v", why, err, inject.ErrUnsupported)
	case !ok && !strings.Contains(why, "sch_") && !strings.Contains(why, "cls_"):
		t.Errorf("support: %q does not say what is missing", why)
	}
	if now := a.snapshot(); now != before {
		t.Errorf("after it:\n%s\nbefore:\n%s", now, before)
	}
}

// TestForeignRoot: what somebody has set is refused by its name.
func TestForeignRoot(t *testing.T) {
	a, _ := pair(t)
	a.links(func(n *netlink.Handle) error {
		l, err := n.LinkByName("eth0")
		if err != nil {
			return err
		}
		return n.QdiscAdd(&netlink.Tbf{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(7, 0), Parent: netlink.HANDLE_ROOT}, Rate: 1e9, Limit: 1e6, Buffer: 1e6})
	})
	before := a.snapshot()
	_, err := degrade.New().Prepare(testContext(t), a.spec(time.Minute, degrade.Params{Peers: []string{"10.99.0.2"}, Delay: time.Millisecond}))
	if !errors.Is(err, inject.ErrRefused) || !strings.Contains(err.Error(), "tbf 7:") || !strings.Contains(err.Error(), "eth0") {
		t.Errorf("prepare: %v, want %v that names tbf 7: and eth0", err, inject.ErrRefused)
	}
	if now := a.snapshot(); now != before {
		t.Errorf("after it:\n%s\nbefore:\n%s", now, before)
	}
}

func TestRefused(t *testing.T) {
	a, _ := pair(t)
	for name, p := range map[string]degrade.Params{
		"its own address":      {Peers: []string{"10.99.0.1"}},
		"loopback":             {Peers: []string{"127.0.0.1"}},
		"loopback of IPv6":     {Peers: []string{"::1"}},
		"the unspecified":      {Peers: []string{"0.0.0.0"}},
		"a protected endpoint": {Peers: []string{"10.99.0.2"}, Protect: []string{"10.99.0.2:22"}},
		"too many":             {Peers: make([]string, degrade.MaxPeers+1)},
	} {
		p.Delay = time.Millisecond
		if _, err := degrade.New().Prepare(testContext(t), a.spec(time.Minute, p)); !errors.Is(err, inject.ErrRefused) {
			t.Errorf("%s: %v, want %v", name, err, inject.ErrRefused)
		}
	}
	if _, err := degrade.New().Prepare(testContext(t), a.spec(time.Minute, degrade.Params{Peers: []string{"192.0.2.1"}, Delay: 1})); err == nil || !strings.Contains(err.Error(), "192.0.2.1") {
		t.Errorf("a peer without a route: %v", err)
	}
}

func TestBadParams(t *testing.T) {
	for _, p := range []string{
		`{"peers":[],"delay":1}`, `{"peers":["etcd-1"],"delay":1}`, `{"peers":["10.0.0.1/33"],"delay":1}`, `{"peers":["fe80::1%eth0"],"delay":1}`,
		`{"peers":["10.0.0.1"]}`, `{"peers":["10.0.0.1"],"delay":-1}`, `{"peers":["10.0.0.1"],"delay":61000000000}`,
		`{"peers":["10.0.0.1"],"delay":1000,"jitter":2000}`, `{"peers":["10.0.0.1"],"jitter":2000,"loss":1}`, `{"peers":["10.0.0.1"],"loss":101}`,
		`{"peers":["10.0.0.1"],"loss":-1}`, `{"peers":["10.0.0.1"],"reorder":10}`, `{"peers":["10.0.0.1"],"rate":1}`,
		`{"peers":["10.0.0.1"],"delay":1,"ports":[0]}`, `{"peers":["10.0.0.1"],"delay":1,"protect":["a:22"]}`, `{"peers":["::ffff:0:0/90"],"delay":1}`,
	} {
		if _, err := degrade.New().Prepare(testContext(t), inject.Spec{Kind: degrade.Kind, For: time.Second, Params: json.RawMessage(p)}); err == nil || !strings.Contains(err.Error(), "params:") {
			t.Errorf("prepare of %s: %v", p, err)
		}
	}
}
