package vm

import (
	"context"
	"encoding/json"
	"net"
	"path/filepath"

	"github.com/lockaudit/lockaudit/lab/vm/wire"
)

// Door is the socket by which lab/vm/exec runs programs in the machine: one
// connection each, that speaks frames of package wire on stream 0.
func (v *VM) Door() string { return filepath.Join(v.dir, "door") }

func (v *VM) openDoor() error {
	l, err := net.Listen("unix", v.Door())
	if err != nil {
		return err
	}
	go func() {
		<-v.gone
		_ = l.Close()
	}()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go v.serve(c)
		}
	}()
	return nil
}

// serve runs one program. The end of the connection is the end of its input, as
// the loss of an ssh connection is.
func (v *VM) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	conn := wire.New(c)
	f, err := conn.Receive()
	if err != nil || f.Kind != wire.Start {
		return
	}
	exit := func(st wire.Status) {
		b, _ := json.Marshal(st)
		_ = conn.Send(wire.Frame{Kind: wire.Exit, Data: b})
	}
	var order wire.Program
	if err := json.Unmarshal(f.Data, &order); err != nil {
		exit(wire.Status{Code: -1, Err: err.Error()})
		return
	}
	p, err := v.Start(order, conn.Writer(wire.Stdout, 0), conn.Writer(wire.Stderr, 0))
	if err != nil {
		exit(wire.Status{Code: -1, Err: err.Error()})
		return
	}
	go func() {
		defer func() { _ = p.CloseInput() }()
		for {
			f, err := conn.Receive()
			if err != nil || f.Kind == wire.StdinEnd {
				return
			}
			if _, err := p.Write(f.Data); err != nil {
				return
			}
		}
	}()
	st, err := p.Wait(context.Background())
	if err != nil {
		st = wire.Status{Code: -1, Err: err.Error()}
	}
	exit(st)
}
