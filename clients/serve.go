package clients

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/resources"
)

// ServeOptions says what a client can talk to. init picks a driver by
// lock.backend and a kind by resource.kind.
type ServeOptions struct {
	Name      string // of the program, for init's answer
	Locks     []locks.Driver
	Resources []resources.Kind
	// Attempted, if not nil, is called with the end of every acquire, before it is
	// answered; by several goroutines at once.
	Attempted func(Attempt)
}

// leaveLimit bounds how long Serve waits at its end for calls that are still
// running; drivers return soon after their context ends.
const leaveLimit = 5 * time.Second

// Serve is the client's end of the protocol: it reads requests from in and writes
// messages to out until in ends (nil), ctx ends, or out cannot be written. What is
// held is then left to its lease: leaving is not releasing. A Read of in that is
// blocked when ctx ends is left behind.
func Serve(ctx context.Context, in io.Reader, out io.Writer, o ServeOptions) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &server{
		options: o, started: time.Now(), out: out, fail: cancel,
		cancels: map[int]context.CancelFunc{}, held: map[string]locks.Grant{},
	}
	defer func() {
		cancel(errLeaving)
		err = errors.Join(err, s.leave())
	}()
	lines := make(chan []byte)
	ended := make(chan error, 1)
	go func() { ended <- feed(ctx, bufio.NewReader(in), lines) }()
	for {
		select {
		case line := <-lines:
			s.handle(ctx, line)
		case err := <-ended:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read request: %w", err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

var errLeaving = errors.New("client is leaving")

func feed(ctx context.Context, in *bufio.Reader, lines chan<- []byte) error {
	for {
		line, err := readLine(in)
		if err != nil {
			return err
		}
		select {
		case lines <- line:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// server is one client at work.
type server struct {
	options ServeOptions
	started time.Time // zero of at_ns and since_ns
	fail    context.CancelCauseFunc
	calls   sync.WaitGroup

	// Set by init, before any other request is handled.
	ready    bool
	client   locks.Client
	driver   locks.Driver
	target   locks.Target
	resource resources.Resource
	notices  sync.WaitGroup

	outMu sync.Mutex
	out   io.Writer

	mu      sync.Mutex
	cancels map[int]context.CancelFunc
	held    map[string]locks.Grant // what this client believes that it holds
}

// handle starts one request. init is handled in place: nothing may overtake it.
func (s *server) handle(ctx context.Context, line []byte) {
	req, err := decodeRequest(line)
	switch {
	case err != nil:
		s.send(Message{ID: req.ID, Fail: &Failure{Code: history.CodeRefused, Err: err.Error()}})
		return
	case req.Op == OpInit:
		s.answer(ctx, req)
		return
	case req.Op == OpCancel:
		s.cancel(req)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	s.cancels[req.ID] = cancel
	s.mu.Unlock()
	s.calls.Go(func() {
		defer func() {
			cancel()
			s.mu.Lock()
			delete(s.cancels, req.ID)
			s.mu.Unlock()
		}()
		s.answer(ctx, req)
	})
}

// cancel gives up the target's request, which still answers for itself.
func (s *server) cancel(req Request) {
	s.mu.Lock()
	cancel, ok := s.cancels[req.Target]
	s.mu.Unlock()
	if ok {
		cancel()
	}
	s.send(Message{ID: req.ID, OK: &Answer{}})
}

// answer runs one request and sends its outcome. A driver that panics leaves an
// outcome that nobody knows.
func (s *server) answer(ctx context.Context, req Request) {
	m := Message{ID: req.ID}
	defer func() {
		if p := recover(); p != nil {
			m = Message{ID: req.ID, Info: &Failure{Err: fmt.Sprintf("%s: panic: %v", req.Op, p)}}
		}
		s.send(m)
	}()
	ok, err := s.do(ctx, req)
	switch code := definite(err); {
	case err == nil:
		m.OK = &ok
	case code != "":
		m.Fail = &Failure{Code: code, Err: err.Error()}
	default:
		m.Info = &Failure{Code: reason(err), Err: err.Error()}
	}
}

// definite is the code of an error that says "it did not happen", or "".
func definite(err error) history.Code {
	switch {
	case errors.Is(err, locks.ErrHeld):
		return history.CodeHeld
	case errors.Is(err, locks.ErrLost):
		return history.CodeLost
	case errors.Is(err, resources.ErrStale):
		return history.CodeStale
	case errors.Is(err, locks.ErrRefused), errors.Is(err, resources.ErrRefused):
		return history.CodeRefused
	}
	return ""
}

func reason(err error) history.Code {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return history.CodeTimeout
	}
	return ""
}

// send writes one line. at_ns is stamped under the lock, so that lines and their
// stamps are in one order.
func (s *server) send(m Message) {
	s.outMu.Lock()
	defer s.outMu.Unlock()
	m.AtNs = s.clock(time.Now())
	line, err := json.Marshal(m)
	if err == nil {
		_, err = s.out.Write(append(line, '\n'))
	}
	if err != nil {
		s.fail(fmt.Errorf("write message: %w", err))
	}
}

// clock is the client's own monotonic clock in nanoseconds; never 0, which means
// "not given" on the wire.
func (s *server) clock(t time.Time) int64 { return max(1, t.Sub(s.started).Nanoseconds()) }

// leave ends the client without releasing anything.
func (s *server) leave() error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.calls.Wait()
	}()
	var errs []error
	select {
	case <-done:
	case <-time.After(leaveLimit):
		errs = append(errs, fmt.Errorf("leave: calls still running after %s", leaveLimit))
	}
	if s.client != nil {
		errs = append(errs, s.client.Close())
		s.notices.Wait()
	}
	if s.resource != nil {
		errs = append(errs, s.resource.Close())
	}
	return errors.Join(errs...)
}
