package conformance

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

// TestReserve: nobody gets the same port twice, nor one that the kernel hands out.
func TestReserve(t *testing.T) {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		t.Fatal(err)
	}
	var first int
	if _, err := fmt.Fscan(strings.NewReader(string(b)), &first); err != nil || first < firstPort+ports {
		t.Errorf("the kernel hands out ports from %d on, %v; tests take them up to %d", first, err, firstPort+ports)
	}
	seen := map[int]bool{}
	for range 200 {
		port := Port(t)
		if seen[port] {
			t.Errorf("port %d is given away twice", port)
		}
		seen[port] = true
	}
	l, err := net.Listen("tcp", Address(t))
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}
