package zookeeper

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

const (
	// wordLimit bounds one question by a four-letter word.
	wordLimit = 3 * time.Second
	// mostSaid bounds an answer: cons has a line for every client.
	mostSaid = 1 << 20
)

// errNotListed: the server answers the other words. Only srvr is allowed by default.
var errNotListed = errors.New("not in the server's 4lw.commands.whitelist")

// errNotServing: the server runs and is part of no quorum.
var errNotServing = errors.New("it is not currently serving requests: it sees no quorum")

// word asks a server one of the questions that it answers without a session.
func word(ctx context.Context, server, word string, config *tls.Config) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, wordLimit)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", server)
	if err != nil {
		return "", err
	}
	if config != nil {
		if conn, err = shake(conn, server, config, wordLimit); err != nil {
			return "", err
		}
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if _, err := io.WriteString(conn, word); err != nil {
		return "", err
	}
	said, err := io.ReadAll(io.LimitReader(conn, mostSaid))
	text := string(said)
	switch {
	case strings.Contains(text, "is not in the whitelist"), strings.Contains(text, "is not executed because"):
		return "", errNotListed
	case strings.Contains(text, "not currently serving requests"):
		return "", errNotServing
	case text == "" && err == nil:
		return "", errors.New("empty answer")
	case text == "":
		return "", err
	}
	return text, nil
}

// values reads lines of "name<separator>value".
func values(text, separator string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), separator); ok {
			out[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	return out
}

// version is the number in "3.8.0-5a02a05eddb59aee6ac762f7ea82e92a68eb9c0f, built on …".
func version(text string) string {
	number, _, _ := strings.Cut(text, ",")
	number, _, _ = strings.Cut(number, "-")
	return strings.TrimSpace(number)
}

func unknownAt(word, server string, err error) string {
	return fmt.Sprintf("%s at %s: %v", word, server, err)
}
