package agent

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

// stream is a client's output on its way to a reader. It never holds more than
// the window, because the agent sends no more until bytes are given back.
type stream struct {
	mu     sync.Mutex
	more   sync.Cond
	buf    bytes.Buffer
	read   int // bytes read and not yet given back
	over   bool
	credit func(int)
}

func newStream(credit func(int)) *stream {
	s := &stream{credit: credit}
	s.more.L = &s.mu
	return s
}

func (s *stream) push(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buf.Len()+len(b) <= 2*window { // an honest agent stays within one
		s.buf.Write(b)
	}
	s.more.Broadcast()
}

func (s *stream) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.more.Broadcast()
}

// Read gives bytes back to the agent in halves of the window, not one by one.
func (s *stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.buf.Len() == 0 && !s.over {
		s.more.Wait()
	}
	if s.buf.Len() == 0 {
		return 0, io.EOF
	}
	n, err := s.buf.Read(p)
	if s.read += n; s.read >= window/2 && !s.over {
		s.credit(s.read)
		s.read = 0
	}
	return n, err
}

// tail keeps the last bytes of a log.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailSize = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = append([]byte(nil), t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) reader() io.Reader {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.NewReader(bytes.Clone(t.buf))
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

// suffix is the last line of the log, for the end of an error message.
func (t *tail) suffix() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(t.buf)), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return ": " + last
	}
	return ""
}
