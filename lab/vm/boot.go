package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lockaudit/lockaudit/lab/vm/wire"
)

// bootWait is how long a boot may take. It takes 3 seconds, and a hundred times that on a
// machine that is busy with other things.
const bootWait = 6 * time.Minute

// Errors that callers decide on.
var (
	// ErrPanic: the machine's kernel panicked.
	ErrPanic = errors.New("the machine's kernel panicked")
	// ErrDown: the machine is no longer there.
	ErrDown = errors.New("the machine is down")
)

// VM is a running machine.
type VM struct {
	Machine
	// BootID is the machine's own, of this boot.
	BootID string

	dir     string
	cmd     *exec.Cmd
	conn    *wire.Conn
	control net.Conn
	gone    chan struct{} // closed when qemu has ended
	over    chan struct{} // closed when all who wait for the machine know; nil: it did not come up

	mu       sync.Mutex
	last     uint32
	programs map[uint32]*Program
	ended    error
}

// Boot starts a machine and returns when its init takes orders. The machine ends
// with ctx, with Kill, and with this process, whatever becomes of it.
func Boot(ctx context.Context, m Machine) (*VM, error) {
	fail := func(err error) (*VM, error) { return nil, fmt.Errorf("boot %s: %w", m.Name, err) }
	if m.Name == "" {
		m.Name = "vm"
	}
	if m.Kernel == "" {
		m.Kernel = Bookworm
	}
	if m.MemoryMiB == 0 {
		m.MemoryMiB = 512
	}
	k, err := m.Kernel.find()
	if err != nil {
		return fail(err)
	}
	guest, err := buildGuest()
	if err != nil {
		return fail(err)
	}
	dir, err := os.MkdirTemp("", "lockaudit-vm-")
	if err != nil {
		return fail(err)
	}
	v := &VM{Machine: m, dir: dir, gone: make(chan struct{}), programs: map[uint32]*Program{}}
	if err := v.start(ctx, k, guest); err != nil {
		return fail(errors.Join(err, os.RemoveAll(dir)))
	}
	if err := v.greet(ctx); err != nil {
		v.Kill()
		return fail(err)
	}
	return v, nil
}

func (v *VM) start(ctx context.Context, k unpacked, guest []byte) error {
	if err := v.initramfs(k, guest, filepath.Join(v.dir, "initramfs")); err != nil {
		return err
	}
	l, err := net.Listen("unix", filepath.Join(v.dir, "control"))
	if err != nil {
		return err
	}
	defer l.Close()
	v.cmd = exec.Command("qemu-system-x86_64", v.arguments(k, v.dir)...)
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(filepath.Join(v.dir, "qemu.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	v.cmd.Stdout, v.cmd.Stderr = log, log
	if err := startAndWait(v.cmd, v.gone); err != nil {
		return fmt.Errorf("%w; make vm-deps installs it", err)
	}
	// Its own exit before it has connected must not leave Accept waiting.
	go func() {
		select {
		case <-v.gone:
		case <-ctx.Done():
		}
		_ = l.Close()
	}()
	if v.control, err = l.Accept(); err != nil {
		v.stop()
		if ctx.Err() != nil {
			return fmt.Errorf("qemu has not started: %w", ctx.Err())
		}
		return fmt.Errorf("qemu did not start: %s", v.tail("qemu.log"))
	}
	v.conn = wire.New(v.control)
	return nil
}

// startAndWait starts a command on a thread that lives as long as the command:
// the kernel takes the end of that thread for the parent's death.
func startAndWait(cmd *exec.Cmd, gone chan<- struct{}) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(gone)
		}
	}()
	return <-started
}

// greet waits for the init's first word.
func (v *VM) greet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootWait)
	defer cancel()
	type first struct {
		f   wire.Frame
		err error
	}
	got := make(chan first, 1)
	go func() {
		f, err := v.conn.Receive()
		got <- first{f, err}
	}()
	select {
	case g := <-got:
		if g.err != nil || g.f.Kind != wire.Hello {
			<-v.gone
			return v.why(errors.Join(errors.New("it said nothing"), g.err))
		}
		v.BootID = string(g.f.Data)
	case <-ctx.Done():
		return v.why(fmt.Errorf("no word from its init: %w", ctx.Err()))
	}
	v.over = make(chan struct{})
	go v.receive()
	return v.openDoor()
}

// Kill cuts the machine's power and waits until it is gone. Safe to call twice.
func (v *VM) Kill() {
	v.stop()
	_ = os.RemoveAll(v.dir)
}

func (v *VM) stop() {
	_ = v.cmd.Process.Kill()
	<-v.gone
	if v.control != nil {
		_ = v.control.Close()
	}
	if v.over != nil {
		<-v.over
	}
}

var panicked = regexp.MustCompile(`Kernel panic[^\n]*|BUG: [^\n]*|Oops: [^\n]*`)

// why says what ended the machine, with what its console said last.
func (v *VM) why(err error) error {
	console := v.tail("console")
	if found := panicked.FindString(console); found != "" {
		err = fmt.Errorf("%w: %s", ErrPanic, found)
	}
	return fmt.Errorf("%w; its console ends with:\n%s%s", err, console, v.tail("qemu.log"))
}

// Console is what the machine's kernel and init have said.
func (v *VM) Console() string { return v.tail("console") }

func (v *VM) tail(name string) string {
	const most = 4000
	b, _ := os.ReadFile(filepath.Join(v.dir, name))
	if len(b) > most {
		b = b[len(b)-most:]
	}
	return strings.ReplaceAll(string(b), "\r", "")
}

// PID is qemu's.
func (v *VM) PID() int { return v.cmd.Process.Pid }
