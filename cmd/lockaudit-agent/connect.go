package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
)

// socketPath is where lockaudit-agent.socket listens.
const socketPath = "/run/lockaudit-agent.sock"

// connect joins stdio to the agent that systemd starts behind a socket. The end of
// in is the end of the orders; it returns when the agent has ended, which is after
// its reverts.
func connect(ctx context.Context, path string, in io.Reader, out io.Writer) error {
	c, err := net.Dial("unix", path)
	if err != nil {
		return fmt.Errorf("connect: %w; is lockaudit-agent.socket started?", err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.(*net.UnixConn).CloseWrite() })
	defer stop()
	go func() {
		_, _ = io.Copy(c, in) // a lost agent is seen by the other direction
		_ = c.(*net.UnixConn).CloseWrite()
	}()
	n, err := io.Copy(out, c)
	switch {
	case n > 0 && err != nil:
		return fmt.Errorf("connect: %w", err)
	case n == 0: // perhaps with what it was sent unread, which is a reset
		return errors.New("connect: the agent ended without a word; another one may be at work: see journalctl -u 'lockaudit-agent@*'")
	}
	return nil
}

func socket() string {
	if p := os.Getenv("LOCKAUDIT_SOCKET"); p != "" {
		return p
	}
	return socketPath
}
