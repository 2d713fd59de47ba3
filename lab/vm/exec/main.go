// Command exec runs a program in a virtual machine that a test has booted, with
// its own stdio: the transport of `via` into such a machine, as ssh is into others.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/lockaudit/lockaudit/lab/vm/wire"
)

const usage = "usage: exec SOCKET [NAME=VALUE...] PROGRAM [ARGUMENT...]"

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "exec:", err)
	}
	os.Exit(code)
}

func run(args []string) (int, error) {
	if len(args) == 0 {
		return 64, errors.New(usage)
	}
	p := wire.Program{Argv: args[1:]}
	for len(p.Argv) > 0 && strings.Contains(p.Argv[0], "=") {
		p.Env, p.Argv = append(p.Env, p.Argv[0]), p.Argv[1:]
	}
	if len(p.Argv) == 0 {
		return 64, errors.New(usage)
	}
	c, err := net.Dial("unix", args[0])
	if err != nil {
		return 255, err
	}
	defer c.Close()
	conn := wire.New(c)
	order, err := json.Marshal(p)
	if err != nil {
		return 255, err
	}
	if err := conn.Send(wire.Frame{Kind: wire.Start, Data: order}); err != nil {
		return 255, err
	}
	go func() { // ends with the program
		_, _ = io.Copy(conn.Writer(wire.Stdin, 0), os.Stdin)
		_ = conn.Send(wire.Frame{Kind: wire.StdinEnd})
	}()
	for {
		f, err := conn.Receive()
		if err != nil {
			return 255, fmt.Errorf("the machine is gone: %w", err)
		}
		switch f.Kind {
		case wire.Stdout:
			_, _ = os.Stdout.Write(f.Data)
		case wire.Stderr:
			_, _ = os.Stderr.Write(f.Data)
		case wire.Exit:
			var st wire.Status
			if err := json.Unmarshal(f.Data, &st); err != nil {
				return 255, err
			}
			if st.Code < 0 {
				return 255, errors.New(st.Err)
			}
			return st.Code, nil
		}
	}
}
