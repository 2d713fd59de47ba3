package partition_test

import (
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject/partition"
)

// TestSever: what was written to a connection that was cut arrives after the heal, unless
// the order says that it must not; and then nobody else's connection is touched.
func TestSever(t *testing.T) {
	for _, severs := range []bool{false, true} {
		a, b := pair(t)
		arrived := make(chan string, 10)
		var port int
		b.in(func() error {
			l, err := net.Listen("tcp", "10.99.0.2:0")
			if err != nil {
				return err
			}
			t.Cleanup(func() { l.Close() })
			port = l.Addr().(*net.TCPAddr).Port
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				got, _ := io.ReadAll(c) // until it is closed or reset
				arrived <- string(got)
			}()
			return nil
		})
		other := echo(b, "tcp", "10.99.0.2:0")
		late, kept := a.dial("tcp", net.JoinHostPort("10.99.0.2", strconv.Itoa(port))), a.dial("tcp", other.addr)

		_, heal := a.cut(partition.New(), "5e5e5e5e5e5e", time.Minute, partition.Params{Peers: []string{"10.99.0.2"}, Ports: []int{port}, Sever: severs})
		if _, err := late.Write([]byte("stale")); err != nil {
			t.Fatal(err)
		}
		e := heal()
		if reset := strings.Contains(e.Seen, "1 connections reset"); reset != severs {
			t.Errorf("sever %v: %s", severs, e.Seen)
		}
		late.Close()
		if severs {
			// The write is lost for good: the peer, which heard nothing of the reset, is asked
			// by a new connection to the same place, and would have had it before.
			if !speaks(kept, hang) {
				t.Error("another connection to the same peer does not work any more")
			}
			select {
			case got := <-arrived:
				if got != "" {
					t.Errorf("after the heal %q arrived", got)
				}
			case <-time.After(3 * time.Second): // TCP would have sent it again within two
			}
			continue
		}
		select {
		case got := <-arrived:
			if got != "stale" {
				t.Errorf("without it %q arrived: then nothing is shown", got)
			}
		case <-time.After(hang):
			t.Error("without it the write did not arrive: then nothing is shown")
		}
	}
}
