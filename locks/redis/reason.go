package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

// reasonLimit bounds the question why a server did not answer.
const reasonLimit = time.Second

// Why a server did not answer that is there.
var (
	errNoTLS = errors.New("it speaks no TLS")
	errTLS   = errors.New("it speaks TLS")
)

// reason tries the other way of speaking on a server that did not answer: one that
// waits for the rest of what it takes for a command, or hangs up, says nothing itself.
// nil: no other reason is known.
func reason(ctx context.Context, config *redis.Options, err error) error {
	var answered redis.Error
	var netErr net.Error
	silent := errors.Is(err, io.EOF) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout()
	if errors.As(err, &answered) || !silent {
		return nil // it said why
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reasonLimit)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", config.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(reasonLimit)); err != nil {
		return nil
	}
	if config.TLSConfig == nil {
		// Only the handshake: no certificate needs to be trusted for that.
		if tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx) == nil {
			return errTLS
		}
		return nil
	}
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		return nil
	}
	var first [1]byte
	if _, err := conn.Read(first[:]); err == nil && (first[0] == '+' || first[0] == '-') {
		return errNoTLS
	}
	return nil
}
