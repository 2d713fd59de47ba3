package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lockaudit/lockaudit/lab/vm/wire"
)

// Program is one that runs in the machine.
type Program struct {
	vm     *VM
	stream uint32
	stdout io.Writer
	stderr io.Writer
	status wire.Status
	err    error
	done   chan struct{}
}

// Start runs a program with no input yet. Output goes to the writers, which must
// not block.
func (v *VM) Start(p wire.Program, stdout, stderr io.Writer) (*Program, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	v.last++
	r := &Program{vm: v, stream: v.last, stdout: stdout, stderr: stderr, done: make(chan struct{})}
	err = v.ended
	if err == nil {
		v.programs[r.stream] = r
	}
	v.mu.Unlock()
	if err == nil {
		err = v.conn.Send(wire.Frame{Kind: wire.Start, Stream: r.stream, Data: b})
	}
	if err != nil {
		return nil, fmt.Errorf("start %q in %s: %w", p.Argv, v.Name, err)
	}
	return r, nil
}

// Write gives the program input.
func (p *Program) Write(b []byte) (int, error) {
	return p.vm.conn.Writer(wire.Stdin, p.stream).Write(b)
}

// CloseInput ends its input.
func (p *Program) CloseInput() error {
	return p.vm.conn.Send(wire.Frame{Kind: wire.StdinEnd, Stream: p.stream})
}

// Kill kills the program and its process group.
func (p *Program) Kill() error {
	return p.vm.conn.Send(wire.Frame{Kind: wire.Kill, Stream: p.stream})
}

// Wait returns how the program ended, or why that is not known.
func (p *Program) Wait(ctx context.Context) (wire.Status, error) {
	select {
	case <-p.done:
		return p.status, p.err
	case <-ctx.Done():
		return wire.Status{}, p.vm.why(fmt.Errorf("wait for a program in %s: %w", p.vm.Name, ctx.Err()))
	}
}

// Run runs a program to its end and returns what it printed, on both.
func (v *VM) Run(ctx context.Context, argv ...string) (string, error) {
	var out bytes.Buffer
	p, err := v.Start(wire.Program{Argv: argv}, &out, &out)
	if err != nil {
		return "", err
	}
	if err := p.CloseInput(); err != nil {
		return "", err
	}
	st, err := p.Wait(ctx)
	if err != nil {
		return "", err
	}
	if st.Code != 0 {
		err = fmt.Errorf("run %q in %s: status %d: %s: %s", argv, v.Name, st.Code, st.Err, out.String())
	}
	return out.String(), err
}

// End orders the machine down and waits until it is. A reboot is a new Boot with
// the same disk: nothing of the first process is left.
func (v *VM) End(ctx context.Context, how wire.Ending) error {
	if err := v.conn.Send(wire.Frame{Kind: wire.End, Data: []byte(how)}); err != nil {
		return fmt.Errorf("%s of %s: %w", how, v.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	select {
	case <-v.gone:
		v.Kill()
		return nil
	case <-ctx.Done():
		err := v.why(fmt.Errorf("%s of %s: %w", how, v.Name, ctx.Err()))
		v.Kill()
		return err
	}
}

// receive hands out what the machine sends until it is gone.
func (v *VM) receive() {
	defer close(v.over)
	var err error
	for err == nil {
		var f wire.Frame
		if f, err = v.conn.Receive(); err == nil {
			v.deliver(f)
		}
	}
	<-v.gone // qemu ends right after its socket
	err = v.why(errors.Join(fmt.Errorf("%s: %w", v.Name, ErrDown), notEOF(err)))
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ended = err
	for _, p := range v.programs {
		p.err = err
		close(p.done)
	}
	v.programs = nil
}

func (v *VM) deliver(f wire.Frame) {
	v.mu.Lock()
	p := v.programs[f.Stream]
	if p != nil && f.Kind == wire.Exit {
		delete(v.programs, f.Stream)
	}
	v.mu.Unlock()
	if p == nil {
		return
	}
	switch f.Kind {
	case wire.Stdout:
		_, _ = p.stdout.Write(f.Data)
	case wire.Stderr:
		_, _ = p.stderr.Write(f.Data)
	case wire.Exit:
		p.err = json.Unmarshal(f.Data, &p.status)
		close(p.done)
	}
}

func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
