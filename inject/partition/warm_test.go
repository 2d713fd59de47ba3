package partition_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject/netns"
	"github.com/lockaudit/lockaudit/inject/partition"
	"github.com/lockaudit/lockaudit/inject/partition/nft"
)

// TestHooksStayOn: from the first order on, this process keeps empty chains in a
// namespace of its own.
func TestHooksStayOn(t *testing.T) {
	a, _ := pair(t)
	before := a.snapshot()
	if _, err := partition.New().Prepare(testContext(t), a.spec(time.Minute, partition.Params{Peers: []string{"10.99.0.2"}})); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return warmIn(t) != "" })
	if now := a.snapshot(); now != before {
		t.Errorf("the namespace of the order has\n%s\nit had\n%s", now, before)
	}
}

// warmIn is the namespace of this process in which the chains are.
func warmIn(t *testing.T) string {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range fds {
		if to, err := os.Readlink(path); err != nil || !strings.HasPrefix(to, "net:[") {
			continue
		}
		ns, err := (netns.Name{Path: path}).Open(testContext(t))
		if err != nil {
			continue // closed meanwhile, by another test
		}
		there := false
		err = ns.Enter(func() error {
			c, err := nft.Dial()
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			there, err = c.HasChain(nft.INet, "lockaudit-warm", "4") // NF_INET_POST_ROUTING
			return err
		})
		ns.Close()
		if err != nil {
			t.Fatal(err)
		}
		if there {
			return path
		}
	}
	return ""
}
