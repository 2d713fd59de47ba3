package conformance

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// Ports for servers that are started, perhaps more than once, by their number. The
// kernel gives whoever listens on port 0, or connects, a number from 32768 on
// (ip_local_port_range); one of those that was free a moment ago is another test's in
// the next. What is below stays with whoever asked for it.
const (
	firstPort = 20_000
	ports     = 12_000
)

// Reserve finds a port on which nobody listens. Until release, no other test of this
// machine is given it: a socket with its number in the name is held, which goes with
// the process.
func Reserve() (port int, release func(), err error) {
	for i, at := 0, rand.IntN(ports); i < ports; i++ {
		port := firstPort + (at+i)%ports
		held, err := net.Listen("unix", "@lockaudit-test-port-"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err == nil {
			return port, func() { held.Close() }, l.Close()
		}
		held.Close()
	}
	return 0, nil, errors.New("reserve port: all are taken")
}

// Port is Reserve until the end of a test.
func Port(tb testing.TB) int {
	tb.Helper()
	port, release, err := Reserve()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(release)
	return port
}

// Address is a Port of loopback.
func Address(tb testing.TB) string {
	tb.Helper()
	return fmt.Sprintf("127.0.0.1:%d", Port(tb))
}
