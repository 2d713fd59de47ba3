package zookeeper

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

const (
	// handshakeLimit bounds the answer to a request for a session. The library waits for
	// almost seven session timeouts: a server that accepts and says nothing would keep it
	// from all others.
	handshakeLimit = 1500 * time.Millisecond
	// roundPause is how long a link rests when no server has given a session.
	roundPause = 200 * time.Millisecond
)

// link is the way of one session to the servers. It hands them to the library one after
// the other, each name resolved anew, and it reads on the way what the library keeps to
// itself: the session timeout that was granted.
type link struct {
	servers []string
	tls     *tls.Config
	done    chan struct{} // the session is not to be connected any more

	mu        sync.Mutex
	next      int
	tried     int // servers since the last one that gave a session
	wire      *wire
	abandoned bool // nothing is sent any more
	closing   bool
	granted   time.Duration
	last      error
}

func newLink(servers []string, config *tls.Config) *link {
	return &link{servers: servers, tls: config, next: rand.IntN(len(servers)), done: make(chan struct{})}
}

// Init, Len, Next and Connected implement zk.HostProvider.
func (*link) Init([]string) error { return nil }

// Len implements zk.HostProvider.
func (l *link) Len() int { return len(l.servers) }

// Next implements zk.HostProvider. The library looks whether it was closed, and throws
// away what it has not sent, only where it starts a new round; requests of a session that
// lives on wait for the next server instead.
func (l *link) Next() (server string, newRound bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = (l.next + 1) % len(l.servers)
	return l.servers[l.next], l.closing
}

// Connected implements zk.HostProvider.
func (l *link) Connected() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tried = 0
}

// dial is the library's way to a server.
func (l *link) dial(_, address string, timeout time.Duration) (net.Conn, error) {
	l.mu.Lock()
	l.tried++
	rest := l.tried > len(l.servers) && l.tried%len(l.servers) == 1 || len(l.servers) == 1 && l.tried > 1
	l.mu.Unlock()
	if rest {
		select {
		case <-time.After(roundPause):
		case <-l.done:
		}
	}
	w, err := l.connect(address, timeout)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.last = fmt.Errorf("%s: %w", address, err)
		return nil, err
	}
	if l.closing {
		return nil, errors.Join(net.ErrClosed, w.Conn.Close())
	}
	l.wire = w
	return w, nil
}

func (l *link) connect(address string, timeout time.Duration) (*wire, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
	}
	conn, err := net.DialTimeout("tcp", address, timeout)
	if err != nil {
		return nil, err
	}
	if l.tls == nil {
		return &wire{Conn: conn, link: l}, nil
	}
	secure, err := shake(conn, address, l.tls, handshakeLimit)
	if err != nil {
		return nil, err
	}
	return &wire{Conn: secure, link: l}, nil
}

// shake speaks TLS on a connection.
func shake(conn net.Conn, address string, config *tls.Config, limit time.Duration) (net.Conn, error) {
	config = config.Clone()
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		config.ServerName = host
	}
	secure := tls.Client(conn, config)
	err := conn.SetDeadline(time.Now().Add(limit))
	if err == nil {
		err = secure.Handshake()
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secure, nil
}

func (l *link) negotiated() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.granted
}

func (l *link) lastError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// end lets the library find its way out. Abandoned, nothing that it still sends arrives:
// its last words would end the session, and with it the lock.
func (l *link) end(abandoned bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.abandoned = l.abandoned || abandoned
	if !l.closing {
		l.closing = true
		close(l.done)
	}
	if l.wire != nil && !l.wire.greeted {
		_ = l.wire.Conn.Close() // it waits for a session that nobody wants any more
	}
}

// cut ends the connection.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wire != nil {
		_ = l.wire.Conn.Close()
	}
}

// wire is one connection of a link.
type wire struct {
	net.Conn
	link    *link
	head    []byte // of the answer to the request for a session
	greeted bool   // that answer has come; the link's lock guards it
}

// Write implements net.Conn.
func (w *wire) Write(b []byte) (int, error) {
	w.link.mu.Lock()
	abandoned := w.link.abandoned
	w.link.mu.Unlock()
	if abandoned {
		_ = w.Conn.Close()
		return len(b), nil
	}
	return w.Conn.Write(b)
}

// headSize: length, protocol version and session timeout, 4 bytes each.
const headSize = 12

// Read implements net.Conn.
func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if len(w.head) < headSize && n > 0 {
		w.head = append(w.head, b[:n]...)
		if len(w.head) >= headSize {
			w.link.mu.Lock()
			w.greeted = true
			w.link.granted = time.Duration(int32(binary.BigEndian.Uint32(w.head[8:]))) * time.Millisecond
			w.link.mu.Unlock()
		}
	}
	if err != nil && len(w.head) < headSize {
		w.link.mu.Lock()
		w.link.last = fmt.Errorf("%s: no answer to the request for a session: %w", w.RemoteAddr(), err)
		w.link.mu.Unlock()
	}
	return n, err
}

// SetReadDeadline implements net.Conn.
func (w *wire) SetReadDeadline(t time.Time) error {
	if latest := time.Now().Add(handshakeLimit); len(w.head) < headSize && (t.IsZero() || t.After(latest)) {
		if len(w.head) > 0 {
			return nil // it is still the one of before
		}
		t = latest
	}
	return w.Conn.SetReadDeadline(t)
}
