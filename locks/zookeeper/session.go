package zookeeper

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

// session is one session and the connection that keeps it. Curator's names for what can
// happen to it: it is SUSPENDED while it has no connection, and LOST once it is over.
type session struct {
	conn    *zk.Conn
	link    *link
	acl     []zk.ACL
	granted time.Duration // the timeout that the servers have granted

	ready chan struct{} // closed when the servers have given it
	over  chan struct{} // closed when it is over; why says how
	ended chan struct{} // closed when the library is done with it

	mu        sync.Mutex
	cause     error
	given     bool
	suspended *time.Timer // ends a session that finds no server in time
}

var (
	errExpired = errors.New("session has expired")
	errSilent  = errors.New("session timeout has passed without a connection")
)

// hear is what the library tells of the connection; it must not wait.
func (s *session) hear(e zk.Event) {
	if e.Type != zk.EventSession {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.State {
	case zk.StateHasSession:
		if s.suspended != nil {
			s.suspended.Stop()
			s.suspended = nil
		}
		if !s.given {
			s.given = true
			close(s.ready)
		}
	case zk.StateDisconnected:
		if s.given && s.suspended == nil {
			s.suspended = time.AfterFunc(s.link.negotiated(), func() { s.lose(errSilent) })
		}
	case zk.StateExpired:
		// The library would make another session, under which nothing is held.
		s.link.end(true)
		s.end(errExpired)
	}
}

// lose ends the session for this client.
func (s *session) lose(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(why)
}

// end wants the lock.
func (s *session) end(why error) {
	if s.cause == nil {
		s.cause = why
		close(s.over)
	}
}

// why the session is over; nil if it is not.
func (s *session) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// close ends the session at the service too, if that can be reached within a second.
func (s *session) close() { s.finish(false) }

// abandon goes without a word: the session ends when its timeout has passed.
func (s *session) abandon() { s.finish(true) }

func (s *session) finish(abandoned bool) {
	s.lose(errClosed)
	s.link.end(abandoned)
	s.conn.Close() // waits for an answer for a second
	s.link.cut()
	<-s.ended
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.suspended != nil {
		s.suspended.Stop()
	}
}

// ask makes one request. The library's requests know no context: one that is given up
// ends with the session, and its answer is dropped.
func ask[T any](ctx context.Context, s *session, request func(*zk.Conn) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answered := make(chan answer, 1)
	go func() {
		v, err := request(s.conn)
		answered <- answer{v, err}
	}()
	select {
	case a := <-answered:
		if errors.Is(a.err, zk.ErrSessionExpired) {
			a.err = errors.Join(errExpired, a.err)
		}
		return a.value, a.err
	case <-s.over:
		var none T
		return none, s.why()
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// askPause lies between two attempts of a request that may be repeated.
const askPause = 20 * time.Millisecond

// insist repeats a request that does no harm when it is carried out twice, for as long as
// its connection is lost on the way.
func insist[T any](ctx context.Context, s *session, request func(*zk.Conn) (T, error)) (T, error) {
	for {
		v, err := ask(ctx, s, request)
		if !cutOff(err) {
			return v, err
		}
		select {
		case <-time.After(askPause):
		case <-s.over:
			return v, s.why()
		case <-ctx.Done():
			return v, errors.Join(ctx.Err(), err)
		}
	}
}

// cutOff: the connection was lost, and whether the request was carried out is unknown.
func cutOff(err error) bool {
	return errors.Is(err, zk.ErrConnectionClosed) || errors.Is(err, zk.ErrNoServer)
}
