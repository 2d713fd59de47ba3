package measure

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

const (
	// maxConnects bounds what one order costs a lock server.
	maxConnects = 100
	// connectLimit is how long one connect may take: a lost SYN is sent again
	// after 1 s, and the tail must show it.
	connectLimit = 3 * time.Second
	// giveUp is the number of failures in a row after which a peer is not asked again.
	giveUp = 3
)

// connects times TCP connects: SYN out, SYN-ACK back, one round trip of the
// kernel's that no application can delay at the far end.
func connects(ctx context.Context, p RTT) (history.Sample, error) {
	if p.Count < 1 || p.Count > maxConnects {
		return history.Sample{}, fmt.Errorf("count %d is not within 1 to %d: %w", p.Count, maxConnects, ErrParams)
	}
	address, err := resolve(ctx, p.Peer)
	if err != nil {
		return history.Sample{}, err
	}
	var times []time.Duration
	var last error
	failed, inRow := 0, 0
	began := time.Now()
	for range p.Count {
		took, err := connect(ctx, address)
		if ctx.Err() != nil {
			return history.Sample{}, ctx.Err()
		}
		if err != nil {
			last, failed, inRow = err, failed+1, inRow+1
			if inRow == giveUp {
				break
			}
			continue
		}
		inRow = 0
		times = append(times, took)
	}
	s := history.NewSample(history.SampleRTT, times, time.Since(began))
	s.Peer, s.Source = p.Peer, "tcp connect"
	if failed > 0 {
		s.Notes = append(s.Notes, fmt.Sprintf("%d of %d connects failed, the last with: %v", failed, failed+len(times), last))
	}
	return s, nil
}

func connect(ctx context.Context, address string) (time.Duration, error) {
	d := net.Dialer{Timeout: connectLimit}
	began := time.Now()
	c, err := d.DialContext(ctx, "tcp", address)
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	return took, c.Close()
}

// resolve turns host:port into address:port once, so that no name server is in
// what is measured.
func resolve(ctx context.Context, peer string) (string, error) {
	host, port, err := net.SplitHostPort(peer)
	if err != nil {
		return "", fmt.Errorf("peer %q is not host:port: %w", peer, ErrParams)
	}
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return "", fmt.Errorf("resolve peer: %w", err)
	}
	return net.JoinHostPort(addresses[0], port), nil
}
