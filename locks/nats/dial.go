package nats

import (
	"context"
	"net"
)

// dialer gives a first attempt up when the caller's context ends; the library's own does
// not know it. Later ones, to reconnect, outlive it.
type dialer struct{ first context.Context }

// Dial implements nats.CustomDialer.
func (d dialer) Dial(network, address string) (net.Conn, error) {
	ctx := d.first
	if ctx.Err() != nil {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	return new(net.Dialer).DialContext(ctx, network, address)
}
