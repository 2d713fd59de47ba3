package partition_test

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
)

// receiver takes datagrams and answers none.
type receiver struct {
	addr string
	c    net.PacketConn
}

func oneWay(h *host, addr string) receiver {
	h.t.Helper()
	var r receiver
	h.in(func() (err error) {
		r.c, err = net.ListenPacket("udp", addr)
		return err
	})
	h.t.Cleanup(func() { r.c.Close() })
	r.addr = r.c.LocalAddr().String()
	return r
}

// want sends one byte and says whether it is to arrive.
func (r receiver) want(t *testing.T, from net.Conn, arrives bool) {
	t.Helper()
	if _, err := from.Write([]byte{1}); err != nil {
		t.Errorf("write to %s: %v", r.addr, err)
	}
	d := hang
	if !arrives {
		d = 100 * time.Millisecond
	}
	_ = r.c.SetReadDeadline(time.Now().Add(d))
	_, _, err := r.c.ReadFrom(make([]byte, 16))
	if (err == nil) != arrives {
		t.Errorf("a datagram to %s: %v, want it to arrive: %v", r.addr, err, arrives)
	}
}

// arrives says whether a datagram that is sent now comes soon.
func (r receiver) arrives(from net.Conn) bool {
	if _, err := from.Write([]byte{1}); err != nil {
		return false
	}
	_ = r.c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	_, _, err := r.c.ReadFrom(make([]byte, 16))
	return err == nil
}

func roundTrip(c net.Conn, d time.Duration) bool {
	_ = c.SetDeadline(time.Now().Add(d))
	if _, err := c.Write([]byte{1}); err != nil {
		return false
	}
	_, err := c.Read(make([]byte, 16))
	return err == nil
}

// addresses are n of 10.0.0.0/8.
func addresses(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("10.%d.%d.%d", i>>16+128, i>>8&255, i&255)
	}
	return out
}

func isRefused(err error) bool { return errors.Is(err, inject.ErrRefused) }

func isUnsupported(err error) bool { return errors.Is(err, inject.ErrUnsupported) }
