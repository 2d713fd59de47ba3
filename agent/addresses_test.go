package agent

import (
	"net/netip"
	"slices"
	"testing"
)

// TestAddresses compares with what the node's own interfaces say, read otherwise.
func TestAddresses(t *testing.T) {
	c := dial(t, testCommand(t, stateDir(t)))
	got := c.Hello().Addresses
	want, err := ownAddresses()
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("hello has %v, want %v, %v", got, want, err)
	}
	for _, s := range got {
		if a, err := netip.ParseAddr(s); err != nil || a.IsLoopback() || a.Is4In6() {
			t.Errorf("address %q: %v", s, err)
		}
	}
}
