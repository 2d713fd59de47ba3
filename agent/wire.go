package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"unicode/utf8"

	"github.com/lockaudit/lockaudit/inject"
)

func newData(b []byte) *data {
	if utf8.Valid(b) {
		return &data{Text: string(b)}
	}
	return &data{Raw: bytes.Clone(b)}
}

func (d *data) bytes() []byte {
	if d == nil {
		return nil
	}
	if d.Raw != nil {
		return d.Raw
	}
	return []byte(d.Text)
}

// readLines calls fn with each line of r until the end, an error of fn, or a
// line beyond maxLine, which is an error: the peer is not one of ours. fn must
// not keep the slice.
func readLines(r io.Reader, fn func([]byte) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 4096), maxLine)
	for s.Scan() {
		if len(bytes.TrimSpace(s.Bytes())) == 0 {
			continue
		}
		if err := fn(s.Bytes()); err != nil {
			return err
		}
	}
	if err := s.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("read line: longer than %d bytes", maxLine)
	} else if err != nil {
		return fmt.Errorf("read line: %w", err)
	}
	return nil
}

func decodeOrder(line []byte) (order, error) {
	var o order
	if err := inject.DecodeStrict(line, &o); err != nil {
		return order{}, fmt.Errorf("decode order: %w", err)
	}
	return o, nil
}

// errNoise: a line that no agent writes, such as a login's greeting.
var errNoise = errors.New("not a message of an agent")

func decodeMessage(line []byte) (message, error) {
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return message{}, fmt.Errorf("decode message %.200q: %w: %w", line, errNoise, err)
	}
	return m, nil
}

// lineWriter writes one JSON value a line and never waits for its peer, so that one
// that does not read can hold up no deadline: what the peer does not take at once is
// queued, for a goroutine that does wait. What it queues is bounded by its users:
// answers by the orders, client output by the window.
type lineWriter struct {
	mu     sync.Mutex
	ready  sync.Cond
	queue  [][]byte
	busy   bool // the goroutine writes
	now    func([]byte) int
	closed bool
	err    error
	done   chan struct{}
}

func newLineWriter(w io.Writer) *lineWriter {
	l := &lineWriter{done: make(chan struct{}), now: writeNow(w)}
	l.ready.L = &l.mu
	go l.run(w)
	return l
}

func (l *lineWriter) send(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode line: %w", err)
	}
	if len(b) >= maxLine {
		return fmt.Errorf("encode line: %d bytes, longer than %d", len(b), maxLine)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	if l.closed {
		return ErrClosed
	}
	b = append(b, '\n')
	if len(l.queue) == 0 && !l.busy {
		b = b[l.now(b):]
	}
	if len(b) > 0 {
		l.queue = append(l.queue, b)
		l.ready.Signal()
	}
	return nil
}

func (l *lineWriter) run(w io.Writer) {
	defer close(l.done)
	for {
		l.mu.Lock()
		l.busy = false
		for len(l.queue) == 0 && !l.closed {
			l.ready.Wait()
		}
		batch := l.queue
		l.queue = nil
		stop := len(batch) == 0
		l.busy = !stop
		l.mu.Unlock()
		if stop {
			return
		}
		if _, err := w.Write(bytes.Join(batch, nil)); err != nil {
			l.mu.Lock()
			l.err, l.queue, l.closed = fmt.Errorf("write line: %w", err), nil, true
			l.mu.Unlock()
			return
		}
	}
}

// close writes out what is queued and stops; done is closed when that happened.
func (l *lineWriter) close() {
	l.mu.Lock()
	l.closed = true
	l.ready.Signal()
	l.mu.Unlock()
}
