package probes

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/history"
)

// Limits on single calls. A lock service that needs longer than callLimit for one
// quorum round trip is not one that a lease of seconds can be built on.
const (
	callLimit  = 5 * time.Second
	agentLimit = 10 * time.Second
)

// party is a lock client whose every call is recorded: the invoke before the
// request is sent, the outcome after the answer has come.
type party struct {
	t    *Trial
	name string
	proc Process
	hold history.Grant
	// started: the process was started for this trial.
	started bool

	stop context.CancelFunc
	done sync.WaitGroup

	mu   sync.Mutex
	lost bool // a lost notice came since the last acquire
}

// party returns the named client, starting it if need be, and records from now
// on what it says unasked.
func (t *Trial) party(ctx context.Context, name string) (*party, error) {
	proc, started, err := t.Stage.Client(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("start client %s: %w", name, err)
	}
	if started {
		// A judge must know that this is another party than the one before it.
		t.record(history.Event{Actor: name, Node: proc.Node(), Op: history.OpStart, Type: history.OK})
	}
	listening, stop := context.WithCancel(context.WithoutCancel(ctx))
	p := &party{t: t, name: name, proc: proc, started: started, stop: stop}
	p.done.Go(func() { p.listen(listening) })
	t.parties = append(t.parties, p)
	return p, nil
}

// restart returns the named client as a new process, which has connections to
// what can be reached now and to nothing else.
func (t *Trial) restart(ctx context.Context, name string) (*party, error) {
	p, err := t.party(ctx, name)
	if err != nil || p.started {
		return p, err
	}
	if err := p.kill(ctx); err != nil {
		return nil, err
	}
	return t.party(ctx, name)
}

// pair returns clients a and b.
func (t *Trial) pair(ctx context.Context) (a, b *party, err error) {
	if a, err = t.party(ctx, "a"); err != nil {
		return nil, nil, err
	}
	if b, err = t.party(ctx, "b"); err != nil {
		return nil, nil, err
	}
	return a, b, nil
}

func (p *party) listen(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case u, ok := <-p.proc.Conn().Events():
			if !ok {
				return
			}
			p.unsolicited(u)
		}
	}
}

func (p *party) stopListening() {
	p.stop()
	p.done.Wait()
}

func (p *party) unsolicited(u clients.Unsolicited) {
	e := p.event(history.OpLost, history.Info)
	e.Key, e.At = u.Key, u.At
	switch u.Event {
	case clients.EventLost:
		p.mu.Lock()
		p.lost = true
		p.mu.Unlock()
	case clients.EventRenewed:
		e.Op, e.Type = history.OpRenew, history.OK
		e.Grant = &history.Grant{TTL: u.TTL, Since: u.Since}
	default:
		return
	}
	p.t.record(e)
}

func (p *party) event(op history.Op, typ history.Type) history.Event {
	return history.Event{Actor: p.name, Node: p.proc.Node(), Op: op, Type: typ}
}

// call records the invoke, sends the request, and records its outcome.
func (p *party) call(ctx context.Context, limit time.Duration, req clients.Request, e history.Event) (clients.Reply, history.Event) {
	e.Type = history.Invoke
	invoke := p.t.record(e)
	callCtx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	reply := p.proc.Conn().Do(callCtx, req)
	e.Type, e.Call, e.Code, e.Err = reply.Type, invoke.Seq, reply.Code, reply.Err
	fill(&e, reply)
	return reply, p.t.record(e)
}

// fill copies what an ok answer says into its event.
func fill(e *history.Event, reply clients.Reply) {
	a := reply.Answer
	if reply.Type != history.OK || a == nil {
		return
	}
	switch e.Op {
	case history.OpAcquire, history.OpRenew:
		e.Grant = &history.Grant{TTL: ms(a.TTLms)}
		if a.Token != nil {
			e.Grant.Token = *a.Token
		}
	case history.OpWrite:
		w := *e.Write
		w.Seq = a.Seq
		e.Write = &w
	case history.OpRead:
		e.Write = &history.Write{Value: a.Value, Seq: a.Seq}
		if a.Token != nil {
			e.Write.Token = *a.Token
		}
	case history.OpStatus:
		e.Holding = a.Holding
	case history.OpObserve:
		if a.Holder != nil {
			e.Holder = &history.Holder{Held: a.Holder.Held, ID: a.Holder.ID, Left: ms(a.Holder.LeftMs), Lease: ms(a.Holder.LeaseMs)}
		}
	}
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// errOutcome: a call that the script depends on did not turn out as it must.
var errOutcome = errors.New("unexpected outcome")

func outcome(what string, r clients.Reply) error {
	if r.Type == history.Info {
		return fmt.Errorf("%w: %w: %s: no definite answer: %s %s", ErrPremise, errOutcome, what, r.Code, r.Err)
	}
	return fmt.Errorf("%w: %s: %s %s %s", errOutcome, what, r.Type, r.Code, r.Err)
}

// tryAcquire asks for the lock for up to wait.
func (p *party) tryAcquire(ctx context.Context, wait time.Duration) clients.Reply {
	return p.attempt(ctx, wait, wait+callLimit)
}

// attempt is tryAcquire that gives the answer up after limit.
func (p *party) attempt(ctx context.Context, wait, limit time.Duration) clients.Reply {
	e := p.event(history.OpAcquire, history.Invoke)
	e.Key = p.t.Key
	p.mu.Lock()
	p.lost = false
	p.mu.Unlock()
	reply, done := p.call(ctx, limit, clients.Request{
		Op: clients.OpAcquire, Key: p.t.Key, TTLms: p.t.TTL.Milliseconds(), WaitMs: wait.Milliseconds(),
	}, e)
	if done.Grant != nil {
		p.hold = *done.Grant
		if p.hold.TTL == 0 {
			p.hold.TTL = p.t.TTL // there is no lease; a script still has to know how long it waits
		}
	}
	return reply
}

// acquire is tryAcquire for steps that cannot go on without the lock.
func (p *party) acquire(ctx context.Context, wait time.Duration) error {
	if r := p.tryAcquire(ctx, wait); r.Type != history.OK {
		return outcome("client "+p.name+" acquires "+p.t.Key, r)
	}
	if p.hold.TTL > p.t.TTL {
		// etcd raises a lease that is shorter than its election allows, silently.
		return fmt.Errorf("%w: asked for %s, granted %s", ErrTTL, p.t.TTL, p.hold.TTL)
	}
	return nil
}

// renew asks for a longer lease, for up to limit.
func (p *party) renew(ctx context.Context, limit time.Duration) {
	e := p.event(history.OpRenew, history.Invoke)
	e.Key = p.t.Key
	p.call(ctx, limit, clients.Request{Op: clients.OpRenew, Key: p.t.Key, Token: &p.hold.Token}, e)
}

// release gives back the hold; that it was lost meanwhile is an outcome to
// record, not an error.
func (p *party) release(ctx context.Context) clients.Reply {
	e := p.event(history.OpRelease, history.Invoke)
	e.Key = p.t.Key
	reply, _ := p.call(ctx, callLimit, clients.Request{Op: clients.OpRelease, Key: p.t.Key, Token: &p.hold.Token}, e)
	return reply
}

// entry is one write of a probe; raw replaces the token's form on the wire.
// opID replaces the operation's own identity: two writes with one are one
// operation, repeated.
type entry struct {
	row, value, kase string
	token            history.Token
	raw, opID        string
	limit            time.Duration // for the answer; 0 is callLimit
}

// write writes to the protected resource.
func (p *party) write(ctx context.Context, w entry) clients.Reply {
	opID := w.opID
	if opID == "" {
		opID = fmt.Sprintf("%s-%s-%d-%s-%s", p.t.Scope, w.row, p.t.Number, p.name, w.value)
	}
	e := p.event(history.OpWrite, history.Invoke)
	e.Row, e.Case = p.t.Row(w.row), w.kase
	e.Write = &history.Write{Token: w.token, Value: w.value, OpID: opID}
	if w.raw != "" {
		e.Write.Token = history.Token{ID: w.raw}
	}
	req := clients.Request{Op: clients.OpWrite, Row: e.Row, RawToken: w.raw, Value: w.value, OpID: opID}
	if !w.token.IsZero() {
		req.Token = &w.token
	}
	reply, _ := p.call(ctx, max(w.limit, callLimit), req, e)
	return reply
}

// read reads a row, so that the record shows what an accepted write left behind.
func (p *party) read(ctx context.Context, row string) clients.Reply {
	e := p.event(history.OpRead, history.Invoke)
	e.Row = p.t.Row(row)
	reply, _ := p.call(ctx, callLimit, clients.Request{Op: clients.OpRead, Row: e.Row}, e)
	return reply
}

// believes asks the client, not the service, whether it holds the lock.
func (p *party) believes(ctx context.Context) (holding bool, err error) {
	e := p.event(history.OpStatus, history.Invoke)
	e.Key = p.t.Key
	reply, _ := p.call(ctx, callLimit, clients.Request{Op: clients.OpStatus, Key: p.t.Key}, e)
	if reply.Type != history.OK || reply.Answer == nil || reply.Answer.Holding == nil {
		return false, outcome("client "+p.name+" says whether it holds", reply)
	}
	return *reply.Answer.Holding, nil
}

func (p *party) noticedLoss() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}
