package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// redis asks a Redis or a Sentinel. One that replicates, or watches others, does its
// work when it has reached them all.
func (p *prober) redis(ctx context.Context, l Lab, s server) error {
	port, question, judge := redisPort, "PING", pong
	switch {
	case s.kind == kindSentinel:
		port, question, judge = sentinelPort, "SENTINEL MASTER "+masterName, l.watching
	case l.Sentinel:
		question, judge = "INFO replication", replicating
	}
	answer, err := p.ask(ctx, net.JoinHostPort(s.node.IP, strconv.Itoa(port)), question)
	if err != nil {
		return err
	}
	return judge(answer)
}

func pong(answer []string) error {
	if len(answer) != 1 || answer[0] != "PONG" {
		return fmt.Errorf("it answers %q", answer)
	}
	return nil
}

// ask sends one command of plain words and returns the answer, an array as its parts.
func (p *prober) ask(ctx context.Context, address, question string) ([]string, error) {
	conn, err := p.dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, question+"\r\n"); err != nil {
		return nil, err
	}
	return readAnswer(bufio.NewReader(conn))
}

// readAnswer reads one answer of the Redis protocol, as far as the questions of this
// package go.
func readAnswer(r *bufio.Reader) ([]string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return nil, errors.New("an empty line")
	}
	kind, rest := line[0], line[1:]
	if kind == '-' {
		return nil, errors.New(rest)
	}
	if kind != '$' && kind != '*' {
		return []string{rest}, nil
	}
	n, err := strconv.Atoi(rest)
	if err != nil || n > maxRequest {
		return nil, fmt.Errorf("read answer %q: not a length", line)
	}
	if kind == '$' {
		text := make([]byte, max(n, 0)+2)
		_, err := io.ReadFull(r, text)
		return []string{string(text[:max(n, 0)])}, err
	}
	var parts []string
	for range n {
		part, err := readAnswer(r)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part...)
	}
	return parts, nil
}
