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
)

// Reply is the outcome of one request. Invoked and Returned are the controller's
// clock before the request was sent and after its answer had come.
type Reply struct {
	Type     history.Type // ok, fail or info
	Answer   *Answer      // set on ok
	Code     history.Code
	Err      string
	Invoked  time.Duration
	Returned time.Duration
}

// Unsolicited is what a client said without being asked.
type Unsolicited struct {
	Event Event
	Key   string
	TTL   time.Duration // renewed: as granted
	At    time.Duration // the controller's clock when the line arrived
	// Since is, on the controller's clock, a time at which the renewal had
	// certainly not been sent yet; nil if the client does not tell.
	Since *time.Duration
}

// maxEvents bounds the events that nobody has read yet. A client with a 10 s
// lease that renews every 3 s fills it in three hours.
const maxEvents = 4096

// call is a request that waits for its answer.
type call struct {
	op      Op
	invoked time.Duration
	reply   chan Reply // buffered, so that the reader never waits for a caller
}

// lastWords is how long the output of a client that reads no more is waited for.
const lastWords = time.Second

// Conn is the auditor's end of the protocol over any pair of streams, usually the
// stdin and stdout of a client process. Its methods may be called concurrently.
type Conn struct {
	w      io.WriteCloser
	now    func() time.Duration
	lines  chan []byte
	events chan Unsolicited
	over   chan struct{} // closed once the connection is unusable
	shut   func() error

	mu        sync.Mutex
	last      int // id of the latest request
	pending   map[int]*call
	abandoned map[int]bool // given up by their caller; a late answer is ignored
	err       error
	clock     clockMap
}

// NewConn starts to read r, line by line, until it ends or turns out not to speak
// the protocol. now is the controller's monotonic clock since the run's start.
// The caller closes r's other end (by ending the process) to stop the reading.
func NewConn(w io.WriteCloser, r io.Reader, now func() time.Duration) *Conn {
	c := &Conn{
		w: w, now: now,
		lines:     make(chan []byte),
		events:    make(chan Unsolicited, maxEvents),
		over:      make(chan struct{}),
		pending:   map[int]*call{},
		abandoned: map[int]bool{},
	}
	c.shut = sync.OnceValue(w.Close)
	go c.read(bufio.NewReader(r))
	go c.write()
	return c
}

// Events returns what the client says without being asked. It is closed when the
// connection ends.
func (c *Conn) Events() <-chan Unsolicited { return c.events }

// Err says why the connection is unusable, or nil while it is not.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close closes the client's stdin, which asks it to leave. It may be called twice.
func (c *Conn) Close() error {
	c.end(errClosed)
	return c.shut()
}

var (
	errClosed = errors.New("connection closed by the auditor")
	errExited = errors.New("client ended its output")
)

// Do sends a request, whose ID it sets, and waits for the answer. There is no Go
// error: a call that ctx ends is info timeout, and the client is told to cancel
// it; one whose client ended or broke the protocol is info exited.
func (c *Conn) Do(ctx context.Context, req Request) Reply {
	waiting := &call{op: req.Op, reply: make(chan Reply, 1)}
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		now := c.now()
		return Reply{Type: history.Info, Code: history.CodeExited, Err: c.err.Error(), Invoked: now, Returned: now}
	}
	c.last++
	req.ID = c.last
	c.pending[req.ID] = waiting
	waiting.invoked = c.now()
	c.mu.Unlock()

	line, err := json.Marshal(req)
	if err == nil && len(line) >= maxLine {
		err = errLineTooLong
	}
	if err != nil {
		c.abandon(req.ID)
		return Reply{Type: history.Fail, Code: history.CodeRefused, Err: fmt.Sprintf("encode request: %v", err), Invoked: waiting.invoked, Returned: c.now()}
	}
	select {
	case c.lines <- append(line, '\n'):
	case reply := <-waiting.reply:
		return reply
	case <-ctx.Done():
		return c.giveUp(ctx, req, waiting, false)
	}
	select {
	case reply := <-waiting.reply:
		return reply
	case <-ctx.Done():
		return c.giveUp(ctx, req, waiting, true)
	}
}

// giveUp ends a call whose context ended. The cancel is a courtesy to a client
// that still reads, so that a waiting acquire is not granted to nobody.
func (c *Conn) giveUp(ctx context.Context, req Request, waiting *call, sent bool) Reply {
	if !c.abandon(req.ID) {
		return <-waiting.reply // the answer came in this very moment
	}
	if sent && req.Op != OpCancel {
		c.cancel(req.ID)
	}
	return Reply{
		Type: history.Info, Code: history.CodeTimeout,
		Err:     fmt.Sprintf("no answer to %s: %v", req.Op, context.Cause(ctx)),
		Invoked: waiting.invoked, Returned: c.now(),
	}
}

// cancelLimit bounds how long a cancel may wait for the writer: long enough for
// one that is idle to be scheduled, and no burden when the client is stopped.
const cancelLimit = 100 * time.Millisecond

func (c *Conn) cancel(target int) {
	c.mu.Lock()
	c.last++
	id := c.last
	c.abandoned[id] = true
	c.mu.Unlock()
	line, err := json.Marshal(Request{ID: id, Op: OpCancel, Target: target})
	if err != nil {
		return
	}
	select {
	case c.lines <- append(line, '\n'):
	case <-c.over:
	case <-time.After(cancelLimit):
	}
}

// abandon reports whether the call was still pending.
func (c *Conn) abandon(id int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.pending[id]; !ok {
		return false
	}
	delete(c.pending, id)
	c.abandoned[id] = true
	return true
}

// write hands lines to the client. It is apart from Do because a client that does
// not read its stdin must not hold up a caller beyond its context.
func (c *Conn) write() {
	for {
		select {
		case line := <-c.lines:
			if _, err := c.w.Write(line); err != nil {
				// A client that reads no more has mostly ended, and what it said last is the
				// better reason; it may be unread yet.
				select {
				case <-c.over:
				case <-time.After(lastWords):
					c.end(fmt.Errorf("write to client: %w", err))
				}
				return
			}
		case <-c.over:
			return
		}
	}
}

// end makes the connection unusable for the reason given, once, and answers every
// pending call.
func (c *Conn) end(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = why
	now := c.now()
	for id, waiting := range c.pending {
		waiting.reply <- Reply{Type: history.Info, Code: history.CodeExited, Err: why.Error(), Invoked: waiting.invoked, Returned: now}
		delete(c.pending, id)
	}
	close(c.over)
}
