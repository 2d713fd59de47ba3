package clients

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/resources"
)

// do runs one request against the driver and the resource.
func (s *server) do(ctx context.Context, req Request) (Answer, error) {
	if !s.ready && req.Op != OpInit {
		return Answer{}, fmt.Errorf("%s before init: %w", req.Op, locks.ErrRefused)
	}
	switch req.Op {
	case OpInit:
		return s.init(ctx, req)
	case OpAcquire:
		return s.acquire(ctx, req)
	case OpRenew:
		return s.renew(ctx, req)
	case OpRelease:
		return s.release(ctx, req)
	case OpWrite:
		return s.write(ctx, req)
	case OpRead:
		return s.read(ctx, req)
	case OpStatus:
		s.mu.Lock()
		_, holding := s.held[req.Key]
		s.mu.Unlock()
		return Answer{Holding: &holding}, nil
	case OpObserve:
		return s.observe(ctx, req)
	case OpPeers:
		return s.peers(ctx, req)
	case OpQuery:
		return s.query(ctx, req)
	case OpInspect:
		found, err := s.driver.Inspect(ctx, s.target)
		if err != nil {
			return Answer{}, err
		}
		return Answer{Facts: &found}, nil
	}
	return Answer{}, fmt.Errorf("unknown op %q: %w", req.Op, locks.ErrRefused)
}

func (s *server) init(ctx context.Context, req Request) (Answer, error) {
	switch {
	case s.ready:
		return Answer{}, fmt.Errorf("init came before: %w", locks.ErrRefused)
	case req.Version != Version:
		return Answer{}, fmt.Errorf("protocol version %d is not spoken, only %d: %w", req.Version, Version, locks.ErrRefused)
	case req.Lock == nil:
		return Answer{}, fmt.Errorf("init without lock: %w", locks.ErrRefused)
	}
	driver, err := byName(s.options.Locks, req.Lock.Backend)
	if err != nil {
		return Answer{}, fmt.Errorf("find lock backend: %w: %w", err, locks.ErrRefused)
	}
	var resource resources.Resource
	if req.Resource != nil {
		kind, err := byName(s.options.Resources, req.Resource.Kind)
		if err != nil {
			return Answer{}, fmt.Errorf("find resource kind: %w: %w", err, resources.ErrRefused)
		}
		if resource, err = kind.Open(ctx, *req.Resource); err != nil {
			return Answer{}, fmt.Errorf("open resource %s: %w", kind.Name(), err)
		}
	}
	client, err := driver.Open(ctx, *req.Lock)
	if err != nil {
		err = fmt.Errorf("open lock %s: %w", driver.Name(), err)
		if resource != nil {
			err = errors.Join(err, resource.Close())
		}
		return Answer{}, err
	}
	s.driver, s.target, s.client, s.resource = driver, *req.Lock, client, resource
	s.ready = true
	if n, ok := client.(locks.Notifier); ok {
		s.notices.Go(func() { s.forward(n.Notices()) })
	}
	return Answer{Version: Version, Name: s.options.Name, Capabilities: client.Capabilities()}, nil
}

// byName finds a driver or a kind, or says which ones there are.
func byName[T interface{ Name() string }](list []T, name string) (T, error) {
	var names []string
	for _, x := range list {
		if x.Name() == name {
			return x, nil
		}
		names = append(names, x.Name())
	}
	var none T
	return none, fmt.Errorf("unknown name %q, want one of %v", name, names)
}

// forward turns what the driver noticed into belief first and events second, so
// that a status after the event agrees with it.
func (s *server) forward(notices <-chan locks.Notice) {
	for n := range notices {
		m := Message{Key: n.Key}
		switch n.Kind {
		case locks.Renewed:
			m.Event, m.TTLms = EventRenewed, n.TTL.Milliseconds()
			if !n.Since.IsZero() {
				m.SinceNs = s.clock(n.Since)
			}
		case locks.Lost:
			m.Event = EventLost
			s.forget(n.Key)
		default:
			continue
		}
		s.send(m)
	}
}

func (s *server) forget(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, key)
}

func (s *server) acquire(ctx context.Context, req Request) (Answer, error) {
	if req.Key == "" || req.TTLms == 0 {
		return Answer{}, fmt.Errorf("acquire without key or ttl_ms: %w", locks.ErrRefused)
	}
	began := time.Now()
	g, err := s.client.Acquire(ctx, req.Key, millis(req.TTLms), millis(req.WaitMs))
	if s.options.Attempted != nil {
		s.options.Attempted(attempt(req.Key, time.Since(began), err))
	}
	if err != nil {
		return Answer{}, err
	}
	s.mu.Lock()
	s.held[req.Key] = g
	s.mu.Unlock()
	return Answer{Token: &g.Token, TTLms: g.TTL.Milliseconds()}, nil
}

// grant is the hold that a renew or release names: by its token, or the client's
// own latest one of that key.
func (s *server) grant(req Request) locks.Grant {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.held[req.Key]
	g.Key = req.Key
	if req.Token != nil && !req.Token.Equal(g.Token) {
		g = locks.Grant{Key: req.Key, Token: *req.Token, TTL: millis(req.TTLms)}
	}
	return g
}

// over drops the belief in a hold that ended, unless a newer one of the same key
// has taken its place.
func (s *server) over(g locks.Grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[g.Key].Token.Equal(g.Token) {
		delete(s.held, g.Key)
	}
}

func (s *server) renew(ctx context.Context, req Request) (Answer, error) {
	g := s.grant(req)
	ttl, err := s.client.Renew(ctx, g)
	if err != nil {
		if errors.Is(err, locks.ErrLost) {
			s.over(g)
		}
		return Answer{}, err
	}
	return Answer{TTLms: ttl.Milliseconds()}, nil
}

// release ends the belief whatever the answer is: who has asked to release no
// longer acts as the holder.
func (s *server) release(ctx context.Context, req Request) (Answer, error) {
	g := s.grant(req)
	s.over(g)
	return Answer{}, s.client.Release(ctx, g)
}

var errNoResource = fmt.Errorf("init named no resource: %w", resources.ErrRefused)

func (s *server) write(ctx context.Context, req Request) (Answer, error) {
	if s.resource == nil {
		return Answer{}, errNoResource
	}
	e := resources.Entry{Row: req.Row, RawToken: req.RawToken, Value: req.Value, OpID: req.OpID}
	if req.Token != nil {
		e.Token = *req.Token
	}
	seq, err := s.resource.Write(ctx, e)
	return Answer{Seq: seq}, err
}

func (s *server) read(ctx context.Context, req Request) (Answer, error) {
	if s.resource == nil {
		return Answer{}, errNoResource
	}
	v, err := s.resource.Read(ctx, req.Row)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Value: v.Value, Seq: v.Seq}
	if v.Token != "" {
		a.Token = &history.Token{ID: v.Token}
	}
	return a, nil
}

func (s *server) query(ctx context.Context, req Request) (Answer, error) {
	lister, ok := s.resource.(resources.Lister)
	if !ok {
		return Answer{}, fmt.Errorf("query: the resource cannot be asked: %w", resources.ErrRefused)
	}
	lines, err := lister.Query(ctx, req.Value)
	return Answer{Lines: lines}, err
}

func (s *server) observe(ctx context.Context, req Request) (Answer, error) {
	observer, ok := s.client.(locks.Observer)
	if !ok {
		return Answer{}, fmt.Errorf("observe: %s cannot: %w", s.driver.Name(), locks.ErrRefused)
	}
	h, err := observer.Observe(ctx, req.Key)
	if err != nil {
		return Answer{}, err
	}
	return Answer{Holder: &Holder{Held: h.Held, ID: h.ID, LeftMs: h.Left.Milliseconds(), LeaseMs: h.Lease.Milliseconds(), Owner: h.Owner}}, nil
}

func (s *server) peers(ctx context.Context, req Request) (Answer, error) {
	witness, ok := s.client.(locks.Witness)
	if !ok {
		return Answer{}, fmt.Errorf("peers: %s does not tell whose connection a lock belongs to: %w", s.driver.Name(), locks.ErrRefused)
	}
	peers, recent, err := witness.Peers(ctx, req.Key)
	return Answer{Peers: peers, Recent: recent}, err
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
