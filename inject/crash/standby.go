package crash

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// standbyName is the first argument of a standby, by which it is found; the second
// is the id of its plan.
const standbyName = "lockaudit-standby"

// Orders to a standby, one byte each. The end of its input means go.
const (
	orderArm  = 'a' // the server is about to be killed; before that there is nothing to start
	orderGo   = 'g'
	orderDrop = 'x' // nothing was killed
)

// Answers of a standby. The end of its output means that it is the server now, or
// that it is gone.
const answerReady = 'r'

// brief is what a standby is told first, as a line of JSON.
type brief struct {
	Undo undo `json:"undo"`
	// In is how long after the arming it starts the server by itself.
	In time.Duration `json:"in"`
	// Armed: the server is down already.
	Armed bool `json:"armed,omitempty"`
}

// standby is the guard's end of one.
type standby struct {
	process *os.Process
	orders  *os.File
	answers *bufio.Reader
	gone    chan struct{} // closed when the process, standby or server, has ended

	mu   sync.Mutex
	said string // what it could not do; set before become is closed
	// become is closed when its output ends: it is the server, or gone.
	become chan struct{}
	ended  *os.ProcessState
}

// startStandby returns a standby that has taken its place and waits. It is this
// program, by its own file even if another one lies at its path by now.
func startStandby(ctx context.Context, id string, b brief) (s *standby, err error) {
	line, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("start standby: %w", err)
	}
	var files []*os.File
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
		if err != nil {
			err = fmt.Errorf("start standby: %w", err)
		}
	}()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	files = append(files, null)
	theirIn, orders, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	files = append(files, theirIn)
	answers, theirOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, orders.Close())
	}
	files = append(files, theirOut)
	p, err := os.StartProcess("/proc/self/exe", []string{standbyName, id}, &os.ProcAttr{
		Dir: "/", Env: []string{}, Files: []*os.File{null, null, null, theirIn, theirOut},
		// A session of its own: no terminal and no process group takes it along.
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, errors.Join(err, orders.Close(), answers.Close())
	}
	s = &standby{process: p, orders: orders, answers: bufio.NewReader(answers), gone: make(chan struct{}), become: make(chan struct{})}
	go func() { // it is this process's child, as the server too
		s.ended, _ = p.Wait()
		close(s.gone)
	}()
	if deadline, ok := ctx.Deadline(); ok {
		_ = errors.Join(orders.SetWriteDeadline(deadline), answers.SetReadDeadline(deadline))
	}
	first, err := byte(0), error(nil)
	if _, err = orders.Write(append(line, '\n')); err == nil {
		first, err = s.answers.ReadByte()
	}
	if err != nil || first != answerReady {
		_ = s.process.Kill() // it is no server yet
		<-s.gone
		rest, _ := io.ReadAll(s.answers)
		return nil, errors.Join(fmt.Errorf("it is not ready: %w %s", orEOF(err), rest), orders.Close(), answers.Close())
	}
	_ = errors.Join(orders.SetWriteDeadline(time.Time{}), answers.SetReadDeadline(time.Time{}))
	go func() {
		said, _ := io.ReadAll(io.LimitReader(s.answers, 4096))
		_ = answers.Close()
		s.mu.Lock()
		s.said = strings.TrimSpace(string(said))
		s.mu.Unlock()
		close(s.become)
	}()
	return s, nil
}

func orEOF(err error) error {
	if err == nil {
		return errors.New("it says")
	}
	return err
}

// order is lost on a standby that has become the server, which is as it should be.
func (s *standby) order(o byte) error {
	_, err := s.orders.Write([]byte{o})
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// failure is what the standby could not do, or how the server that it became has
// ended: then nobody needs to be waited for any more.
func (s *standby) failure() error {
	select {
	case <-s.become:
	default:
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.said != "" {
		return errors.New(s.said)
	}
	select {
	case <-s.gone:
	default:
		return nil
	}
	if s.ended != nil && !s.ended.Success() {
		return fmt.Errorf("the server that was started has ended at once: %v; its own log says why: %w", s.ended, inject.ErrProgram)
	}
	return nil // it had found the server running, or has left it to a child of its own
}

// close lets go of the standby's ends.
func (s *standby) close() { _ = s.orders.Close() }

// hasten finds a standby of the plan that another process has started, tells it to
// go, and returns once there is none: it is the server then, or has found that
// there is nothing to start. No signal is used, because it might reach the server.
func hasten(ctx context.Context, id string) error {
	for {
		pid, err := standbyOf(id)
		if err != nil || pid == 0 {
			return err
		}
		// One that is just becoming the server cannot be opened, either: the next look tells.
		failed := poke(pid, id)
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("standby process %d does not start the server: %w", pid, ctx.Err()), failed)
		}
	}
}

// poke writes the order into the standby's own pipe. The file is opened first and
// the name looked at afterwards: once a standby has become the server it is never
// one again, so what was opened is the standby's.
func poke(pid int, id string) error {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/fd/3", unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil && !isStandby(pid, id) {
		return nil // it is the server now, of which any file may have that number, or gone
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ESRCH) {
		return nil // it has closed it
	}
	if err != nil {
		return fmt.Errorf("order standby process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if isStandby(pid, id) {
		_, _ = unix.Write(fd, []byte{orderGo}) // a full pipe holds the order already
	}
	return nil
}

func standbyOf(id string) (int, error) {
	dir, err := os.ReadDir("/proc")
	if err != nil {
		return 0, fmt.Errorf("list processes: %w", err)
	}
	for _, e := range dir {
		pid, err := strconv.Atoi(e.Name())
		if err == nil && isStandby(pid, id) {
			if s, err := inject.ReadStat(pid); err == nil && !s.Dead() {
				return pid, nil
			}
		}
	}
	return 0, nil
}

func isStandby(pid int, id string) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return err == nil && string(b) == standbyName+"\x00"+id+"\x00"
}
