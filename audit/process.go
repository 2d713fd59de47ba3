package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/inject"
)

// process is one running lock client: its protocol connection, and the agent
// that can stop, resume and kill it.
type process struct {
	victim
	proc *agent.Proc
	conn *clients.Conn
	caps []string
	// keep puts what the client has logged into the record.
	keep func(log []byte) error
}

// victim is a process that faults hit, and the agent that can do so.
type victim struct {
	node    string
	agent   *agent.Conn
	blast   *blast
	process inject.Process
}

func (p *process) Conn() *clients.Conn { return p.conn }
func (p *process) Node() string        { return p.node }
func (p *process) Can(c string) bool   { return slices.Contains(p.caps, c) }

func (p *process) alive() bool {
	select {
	case <-p.proc.Done():
		return false
	default:
		return p.conn.Err() == nil
	}
}

// Pause implements probes.Pauser. The agent is told the start time too: a pid
// alone may have become another process's.
func (p victim) Pause(ctx context.Context, d time.Duration) (history.Fault, error) {
	params, err := json.Marshal(struct {
		PID       int    `json:"pid"`
		StartTime uint64 `json:"start_time"`
		Tree      bool   `json:"tree"`
	}{p.process.PID, p.process.StartTime, true})
	if err != nil {
		return history.Fault{}, fmt.Errorf("encode pause: %w", err)
	}
	spec := inject.Spec{Kind: "pause", For: d, Params: params}
	f, err := p.blast.order(ctx, p.agent, p.node, spec, false)
	if err != nil {
		return history.Fault{}, err
	}
	return p.blast.entry(f, p.node, spec), nil
}

// Resume implements probes.Pauser.
func (p victim) Resume(ctx context.Context, faultID string) (history.Fault, error) {
	effect, err := p.agent.Revert(ctx, faultID)
	if err != nil {
		return history.Fault{}, err
	}
	p.blast.ended(faultID)
	return history.Fault{ID: faultID, Kind: "pause", Node: p.node, Seen: effect.Seen, Why: "order"}, nil
}

// Kill implements probes.Process.
func (p *process) Kill(ctx context.Context) error { return p.proc.Kill(ctx) }

// end closes the client's stdin, which asks it to leave, and kills it if it does
// not: a hold of the audit's own key then ends with its lease. Its log is kept.
func (p *process) end(ctx context.Context) error {
	_ = p.conn.Close() // it only ends what the process will see as the end of its input
	select {
	case <-p.proc.Done():
		return p.keepLog()
	case <-time.After(2 * time.Second):
	case <-ctx.Done():
	}
	if err := p.proc.Kill(ctx); err != nil {
		return errors.Join(fmt.Errorf("end client on node %s: %w", p.node, err), p.keepLog())
	}
	return p.keepLog()
}

func (p *process) keepLog() error {
	log, err := io.ReadAll(p.proc.Stderr())
	if err != nil || len(log) == 0 {
		return err
	}
	return p.keep(log)
}

// explain says why a client did not answer init, in its own words where it has any.
func (p *process) explain(reply clients.Reply) string {
	why := string(reply.Code)
	if reply.Err != "" {
		why = reply.Err
	}
	if err := p.conn.Err(); err != nil {
		return err.Error()
	}
	return why + logged(p.proc)
}

// lastWords is a client's output, of which the end says how the client has ended, and
// what it had to say about that: its log's last line.
type lastWords struct{ *agent.Proc }

// lastWordsLimit bounds the wait for what comes after the end of the output.
const lastWordsLimit = time.Second

func (l lastWords) Read(b []byte) (int, error) {
	n, err := l.Stdout().Read(b)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	how := "client ended its output and runs on"
	select {
	case <-l.Done():
		how = "client ended, " + l.Exit()
	case <-time.After(lastWordsLimit):
	}
	return n, clients.Ended(how + logged(l.Proc))
}

// logged is the last line of a client's log, for the end of an error message.
func logged(p *agent.Proc) string {
	log, err := io.ReadAll(p.Stderr())
	if err != nil || len(bytes.TrimSpace(log)) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return "; its log ends with: " + strings.TrimSpace(lines[len(lines)-1])
}
