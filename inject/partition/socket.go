package partition

import (
	"errors"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/inject/netns"
	"github.com/lockaudit/lockaudit/inject/partition/nft"

	"golang.org/x/sys/unix"
)

// dial opens a netfilter socket in the namespace and checks that it is there: a
// rule that lands in the host's namespace cuts off the host.
func dial(ns *netns.Namespace) (*nft.Conn, error) {
	var c *nft.Conn
	err := ns.Enter(func() (err error) {
		c, err = nft.Dial()
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := ns.Verify(c.FD()); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// spareFor is how long a socket that Prepare opened waits for its Inject. It keeps
// the namespace, so that a dry run must not leave it for long.
const spareFor = 200 * time.Millisecond

// spare is the socket that Prepare opened on its one visit to the namespace, so that
// Inject need not go there again: an order is Prepare, a journal entry and Inject.
type spare struct {
	mu   sync.Mutex
	conn *nft.Conn
}

// put keeps a socket, or nil, instead of the one before.
func (s *spare) put(c *nft.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
	if s.conn = c; c == nil {
		return
	}
	time.AfterFunc(spareFor, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.conn == c {
			s.drop()
		}
	})
}

func (s *spare) drop() {
	if s.conn != nil {
		closeLater(s.conn)
		s.conn = nil
	}
}

// take returns the socket if it is in this namespace, with the check of dial, and
// nil otherwise. It must not have done anything yet.
func (s *spare) take(ns *netns.Namespace) *nft.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.conn
	if c == nil || ns.Verify(c.FD()) != nil {
		return nil // another order's; it goes by itself
	}
	s.conn = nil
	return c
}

func notThere(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH)
}
