package clients

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// read takes the client's lines apart until the first one that is wrong: what a
// client says after it broke the protocol is worth nothing.
func (c *Conn) read(in *bufio.Reader) {
	defer close(c.events)
	for number := 1; ; number++ {
		line, err := readLine(in)
		now := c.now()
		switch {
		case err == io.EOF: //nolint:errorlint // a clean end; one in the middle of a line is wrapped
			c.end(errExited)
			return
		case errors.Is(err, io.EOF):
			c.end(err)
			return
		case errors.Is(err, errLineTooLong):
			c.end(c.broken(number, line, err))
			return
		case err != nil:
			c.end(fmt.Errorf("read from client: %w", err))
			return
		}
		if err := c.take(line, now); err != nil {
			c.end(c.broken(number, line, err))
			return
		}
	}
}

// Ended is the end of a client's output for a reader that knows more about it.
type Ended string

func (e Ended) Error() string { return string(e) }

// Is says that it is an end, and no failure to read.
func (e Ended) Is(target error) bool { return target == io.EOF }

func (c *Conn) broken(number int, line []byte, why error) error {
	return fmt.Errorf("line %d is not a client-protocol message: %s (%w)", number, quote(line), why)
}

// take handles one line that arrived at now.
func (c *Conn) take(line []byte, now time.Duration) error {
	m, err := decodeMessage(line)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.Event != "" {
		return c.takeEvent(m, now)
	}
	waiting, ok := c.pending[m.ID]
	if !ok {
		if c.abandoned[m.ID] {
			delete(c.abandoned, m.ID)
			return nil
		}
		return fmt.Errorf("no request %d is waiting for an answer", m.ID)
	}
	if err := checkAnswer(waiting.op, m); err != nil {
		return err
	}
	delete(c.pending, m.ID)
	if m.AtNs > 0 {
		c.clock.learn(waiting.invoked, now, m.AtNs)
	}
	reply := Reply{Type: history.OK, Answer: m.OK, Invoked: waiting.invoked, Returned: now}
	switch {
	case m.Fail != nil:
		reply.Type, reply.Code, reply.Err = history.Fail, m.Fail.Code, m.Fail.Err
	case m.Info != nil:
		reply.Type, reply.Code, reply.Err = history.Info, m.Info.Code, m.Info.Err
	}
	waiting.reply <- reply
	return nil
}

func (c *Conn) takeEvent(m Message, now time.Duration) error {
	u := Unsolicited{Event: m.Event, Key: m.Key, TTL: time.Duration(m.TTLms) * time.Millisecond, At: now}
	if m.Event == EventRenewed && m.SinceNs > 0 {
		u.Since = c.clock.toController(m.SinceNs, now)
	}
	select {
	case c.events <- u:
		return nil
	default:
		return fmt.Errorf("more than %d events that nobody has read", maxEvents)
	}
}

// clockMap maps the client's monotonic clock to the controller's, never to a time
// later than the true one.
//
// An answer's at_ns was stamped after its request was invoked, so that the true
// offset (controller minus client) is at least invoked − at_ns; the largest such
// bound is the best one. Bounds age, because two clocks do not run alike.
type clockMap struct {
	known  bool
	offset time.Duration // a lower bound of controller minus client
	at     time.Duration // controller's clock when it held
}

// drift is by how much the bound is lowered as time passes: 500 ppm, the most
// that NTP slews a Linux clock, for each of the two clocks.
const drift = 1000 // divisor

func (m *clockMap) learn(invoked, now time.Duration, atNs int64) {
	bound := invoked - time.Duration(atNs)
	if !m.known || bound > m.aged(now) {
		*m = clockMap{known: true, offset: bound, at: invoked}
	}
}

func (m *clockMap) aged(now time.Duration) time.Duration {
	return m.offset - (now-m.at)/drift
}

// toController returns nil when there is nothing to map with. A time is never
// later than now, when its line arrived.
func (m *clockMap) toController(sinceNs int64, now time.Duration) *time.Duration {
	if !m.known {
		return nil
	}
	since := min(time.Duration(sinceNs)+m.aged(now), now)
	return &since
}
