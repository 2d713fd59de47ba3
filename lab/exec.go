package lab

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// Command is a program to run on a node of a lab.
type Command struct {
	Node string
	Argv []string
	// Stdin, Stdout and Stderr are handed to the program as they are.
	Stdin, Stdout, Stderr *os.File
}

// Exec runs a program on a node and returns its exit status, 128 + the signal's
// number if a signal ended it. When ctx ends the program gets SIGTERM and, after
// ten seconds, SIGKILL, and Exec still waits for its end. When the calling
// process dies the same happens to the program.
func Exec(ctx context.Context, base string, l Lab, c Command) (status int, err error) {
	if err := knownNode(l, c.Node); err != nil {
		return 0, err
	}
	conn, err := placeOf(base, l).dial()
	if err != nil {
		return 0, notUp(l)
	}
	defer func() { _ = conn.Close() }()
	dir, err := os.Getwd()
	if err != nil {
		dir = "/"
	}
	replies, err := ask(conn, request{
		Op: opExec, Node: c.Node, Argv: c.Argv, Env: os.Environ(), Dir: dir,
	}, c.Stdin, c.Stdout, c.Stderr)
	if err != nil {
		return 0, err
	}
	// The keeper sees the end of what is sent as a hangup.
	stop := context.AfterFunc(ctx, func() { _ = conn.CloseWrite() })
	defer stop()
	for {
		var r reply
		if err := replies.Decode(&r); err != nil {
			return 0, fmt.Errorf("run %s on %s: the lab has gone down: %w", c.Argv[0], c.Node, err)
		}
		switch {
		case r.Err != "":
			return 0, fmt.Errorf("run on %s: %s", c.Node, r.Err)
		case r.Exited:
			return r.Status, nil
		}
	}
}

func knownNode(l Lab, name string) error {
	var names []string
	for _, n := range l.Nodes() {
		if n.Name == name {
			return nil
		}
		names = append(names, n.Name)
	}
	return Hint(fmt.Errorf("find node %q: %w", name, ErrUnknown), "nodes of "+l.Name+": "+strings.Join(names, ", "))
}

func notUp(l Lab) error {
	return Hint(fmt.Errorf("find lab %q: %w", l.Name, ErrNotUp), "raise it with: locklab up "+l.Name)
}
