package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lockaudit/lockaudit/lab/vm/wire"

	"golang.org/x/sys/unix"
)

// server runs programs for the harness.
type server struct {
	conn    *wire.Conn
	mu      sync.Mutex
	running map[uint32]*running
}

type running struct {
	cmd *exec.Cmd
	in  chan []byte // closed at the end of its input
}

func serve() error {
	port, err := openPort("lockaudit")
	if err != nil {
		return err
	}
	s := &server{conn: wire.New(port), running: map[uint32]*running{}}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	if err := s.conn.Send(wire.Frame{Kind: wire.Hello, Data: []byte(strings.TrimSpace(string(boot)))}); err != nil {
		return err
	}
	for {
		f, err := s.conn.Receive()
		if err != nil {
			return fmt.Errorf("orders: %w", err) // the harness is gone: so is the machine
		}
		switch f.Kind {
		case wire.Start:
			s.start(f)
		case wire.Stdin, wire.StdinEnd, wire.Kill:
			s.signal(f)
		case wire.End:
			if wire.Ending(f.Data) == wire.Reboot {
				down(unix.LINUX_REBOOT_CMD_RESTART)
			}
			down(unix.LINUX_REBOOT_CMD_POWER_OFF)
		}
	}
}

// openPort finds the virtio-serial port of a name; its driver may still be at it.
func openPort(name string) (*os.File, error) {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			if b, err := os.ReadFile(n); err == nil && strings.TrimSpace(string(b)) == name {
				return os.OpenFile("/dev/"+filepath.Base(filepath.Dir(n)), os.O_RDWR, 0)
			}
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("find port %q: not there", name)
		}
	}
}

func (s *server) start(f wire.Frame) {
	exit := func(st wire.Status) {
		b, _ := json.Marshal(st)
		_ = s.conn.Send(wire.Frame{Kind: wire.Exit, Stream: f.Stream, Data: b})
	}
	var p wire.Program
	if err := json.Unmarshal(f.Data, &p); err != nil || len(p.Argv) == 0 {
		exit(wire.Status{Code: -1, Err: fmt.Sprintf("order %q: %v", f.Data, err)})
		return
	}
	r := &running{cmd: exec.Command(p.Argv[0], p.Argv[1:]...), in: make(chan []byte, 4096)}
	r.cmd.Env = append(os.Environ(), p.Env...)
	r.cmd.Dir = "/"
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.cmd.Stdout = s.conn.Writer(wire.Stdout, f.Stream)
	r.cmd.Stderr = s.conn.Writer(wire.Stderr, f.Stream)
	// What it leaves running may hold its output open for ever.
	r.cmd.WaitDelay = time.Second
	in, err := r.cmd.StdinPipe()
	if err == nil {
		err = r.cmd.Start()
	}
	if err != nil {
		exit(wire.Status{Code: -1, Err: err.Error()})
		return
	}
	s.mu.Lock()
	s.running[f.Stream] = r
	s.mu.Unlock()
	go feed(in, r.in)
	go func() {
		st := ended(r.cmd.Wait())
		s.mu.Lock()
		delete(s.running, f.Stream)
		s.mu.Unlock()
		exit(st)
	}()
}

// feed writes a program's input; what it no longer reads is dropped.
func feed(w io.WriteCloser, from <-chan []byte) {
	defer w.Close()
	for b := range from {
		if _, err := w.Write(b); err != nil {
			break
		}
	}
}

func ended(err error) wire.Status {
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return wire.Status{}
	case errors.As(err, &exit):
		return wire.Status{Code: exit.ExitCode(), Err: exit.Error()}
	}
	return wire.Status{Code: -1, Err: err.Error()}
}

func (s *server) signal(f wire.Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.running[f.Stream]
	if r == nil {
		return // it has ended
	}
	switch f.Kind {
	case wire.Stdin:
		select {
		case r.in <- f.Data:
		default: // 4096 frames behind: nobody reads them
		}
	case wire.StdinEnd:
		close(r.in)
		r.in = make(chan []byte) // closed once
	case wire.Kill:
		_ = unix.Kill(-r.cmd.Process.Pid, unix.SIGKILL)
	}
}
