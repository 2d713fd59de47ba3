package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
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
	silent := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout()
	if errors.As(err, &answered) || !silent {
		return nil // it said why
	}
	ctx = context.WithoutCancel(ctx)
	if config.TLSConfig != nil {
		if alert := lastWord(ctx, config); alert != nil {
			return alert
		}
	}
	ctx, cancel := context.WithTimeout(ctx, reasonLimit)
	defer cancel()
	conn, err := dialOnce(ctx, config.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
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

func dialOnce(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	return conn, conn.SetDeadline(deadline)
}

// lastWord listens to a server that hangs up after the handshake: with TLS 1.3 it looks at
// the client's certificate only then, and what it says of it is lost when something was
// written to it meanwhile. nil: it says nothing.
func lastWord(ctx context.Context, config *redis.Options) error {
	ctx, cancel := context.WithTimeout(ctx, reasonLimit)
	defer cancel()
	raw, err := dialOnce(ctx, config.Addr)
	if err != nil {
		return nil // the caller's own attempt says it
	}
	defer raw.Close()
	secure := config.TLSConfig.Clone()
	if secure.ServerName == "" {
		secure.ServerName, _, _ = net.SplitHostPort(config.Addr)
	}
	conn := tls.Client(raw, secure)
	if err = conn.HandshakeContext(ctx); err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" { // an alert of the server's
		return err
	}
	return nil
}
