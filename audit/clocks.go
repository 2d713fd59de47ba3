package audit

import (
	"context"
	"io"
	"sync"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/record"
)

// note keeps what an agent says of its node, and how its clocks are against the
// auditor's. Clocks that cannot be read are said so, and hold nothing up.
func (s *stage) note(ctx context.Context, node string, c *agent.Conn) {
	h := c.Hello()
	n := record.Node{Name: node, Hostname: h.Hostname, AgentVersion: h.AgentVersion, Protocol: h.Version, Times: 1}
	o, err := c.Clock(ctx)
	if err != nil {
		n.Unread = err.Error()
	} else {
		n.RoundTrip, n.ClockAhead, n.ClockError = o.RoundTrip, o.Ahead, o.Error
		if o.Raw > 0 {
			n.Raw, n.RawAt = o.Raw, o.At.Sub(s.w.Start())
		}
	}
	// A full disk stops the audit where the history is written.
	_ = s.w.Update(func(m *record.Manifest) {
		for i, old := range m.Nodes {
			if old.Name == node {
				n.Times = old.Times + 1
				m.Nodes[i] = n
				return
			}
		}
		m.Nodes = append(m.Nodes, n)
	})
}

// traces are the records of the orders to each node's agent, also of one after another.
type traces struct {
	mu   sync.Mutex
	open map[string]io.Writer
}

func (t *traces) of(w *record.Writer, node string) (io.Writer, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.open[node]; f != nil {
		return f, nil
	}
	f, err := w.Agent(node)
	if err != nil {
		return nil, err
	}
	if t.open == nil {
		t.open = map[string]io.Writer{}
	}
	t.open[node] = f
	return f, nil
}
