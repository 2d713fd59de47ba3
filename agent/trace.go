package agent

import (
	"encoding/json"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/measure"
)

// tracer writes every order and answer as a JSON line with a stamp. What clients
// say is counted and not shown, and of an environment only the names: both may
// hold credentials, and the clients' own record is the history.
type tracer struct {
	mu    sync.Mutex
	w     io.Writer
	start time.Time
}

type traced struct {
	AtNs    int64    `json:"at_ns"` // monotonic, since the start of the run
	Order   *order   `json:"order,omitempty"`
	Message *message `json:"message,omitempty"`
	Bytes   int      `json:"bytes,omitempty"`
}

func newTracer(w io.Writer, start time.Time) *tracer {
	if w == nil {
		return nil
	}
	if start.IsZero() {
		start = time.Now()
	}
	return &tracer{w: w, start: start}
}

func (t *tracer) order(o order) {
	if t == nil || o.Op == opCredit || o.Op == opPing {
		return
	}
	n := len(o.Data.bytes())
	o.Data = nil
	if o.Start != nil {
		s := *o.Start
		s.Env = nil
		for _, e := range o.Start.Env {
			name, _, _ := strings.Cut(e, "=")
			s.Env = append(s.Env, name)
		}
		o.Start = &s
	}
	if o.Measure != nil && o.Measure.Kind == measure.KindFetch {
		o.Measure = &measurement{Kind: o.Measure.Kind} // a URL may hold a password
	}
	t.write(traced{Order: &o, Bytes: n})
}

func (t *tracer) message(m message) {
	if t == nil || m.Event == eventPong {
		return
	}
	n := len(m.Data.bytes())
	m.Data = nil
	if m.OK != nil && len(m.OK.Measured) > 0 {
		// Log lines and metrics are the application's words; what matters of them
		// is in the history.
		ok := *m.OK
		n, ok.Measured = len(ok.Measured), nil
		m.OK = &ok
	}
	t.write(traced{Message: &m, Bytes: n})
}

// write ignores a failing writer: a full disk under the record must not stop a revert.
func (t *tracer) write(e traced) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e.AtNs = time.Since(t.start).Nanoseconds()
	if b, err := json.Marshal(e); err == nil {
		_, _ = t.w.Write(append(b, '\n'))
	}
}
