package zookeeper

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/lockaudit/lockaudit/locks"
)

// reachLimit is how long the service may take to give a session: one server after the
// other is asked, and the first may be one that does not answer.
const reachLimit = 5 * time.Second

// dialer opens sessions with the servers of a target.
type dialer struct {
	servers []string // host:port
	tls     *tls.Config
	// login is a digest, "user:password"; nil: nobody.
	login []byte
}

func newDialer(t locks.Target) (*dialer, error) {
	d := &dialer{}
	for _, e := range t.Endpoints {
		host, port, err := net.SplitHostPort(e)
		n, numErr := strconv.ParseUint(port, 10, 16)
		if err != nil || numErr != nil || host == "" || n == 0 {
			return nil, fmt.Errorf("connect to zookeeper: endpoint %q is not host:port: %w", e, locks.ErrRefused)
		}
		d.servers = append(d.servers, e)
	}
	if len(d.servers) == 0 {
		return nil, fmt.Errorf("connect to zookeeper: no endpoints: %w", locks.ErrRefused)
	}
	if t.TLS != nil {
		var err error
		if d.tls, err = t.TLS.Config(); err != nil {
			return nil, fmt.Errorf("connect to zookeeper: %w: %w", err, locks.ErrRefused)
		}
	}
	if t.Username != "" {
		d.login = []byte(t.Username + ":" + t.Password)
	}
	return d, nil
}

// at is the dialer for one of the servers.
func (d *dialer) at(server string) *dialer {
	one := *d
	one.servers = []string{server}
	return &one
}

// acl of the nodes that the client makes.
func (d *dialer) acl() []zk.ACL {
	if d.login != nil {
		return zk.AuthACL(zk.PermAll)
	}
	return zk.WorldACL(zk.PermAll)
}

// quiet: stdout belongs to the client protocol.
type quiet struct{}

func (quiet) Printf(string, ...any) {}

// open makes a session, for as long as ctx allows.
func (d *dialer) open(ctx context.Context, timeout time.Duration) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	s := &session{
		link: newLink(d.servers, d.tls), acl: d.acl(),
		ready: make(chan struct{}), over: make(chan struct{}), ended: make(chan struct{}),
	}
	conn, events, err := zk.Connect(d.servers, timeout,
		zk.WithHostProvider(s.link), zk.WithDialer(s.link.dial), zk.WithEventCallback(s.hear), zk.WithLogger(quiet{}), zk.WithLogInfo(false))
	if err != nil {
		return nil, fmt.Errorf("connect to zookeeper: %w", err)
	}
	s.conn = conn
	go func() {
		defer close(s.ended)
		for range events { // until the library's loop has ended
		}
	}()
	select {
	case <-s.ready:
	case <-s.over:
		s.close()
		return nil, fmt.Errorf("connect to zookeeper: %w", s.why())
	case <-ctx.Done():
		err := errors.Join(ctx.Err(), s.link.lastError())
		s.abandon()
		return nil, fmt.Errorf("connect to zookeeper: no server gave a session: %w", err)
	}
	s.granted = s.link.negotiated()
	if d.login == nil {
		return s, nil
	}
	if _, err := ask(ctx, s, func(c *zk.Conn) (any, error) { return nil, c.AddAuth("digest", d.login) }); err != nil {
		s.close()
		return nil, fmt.Errorf("connect to zookeeper: log in: %w", definite(err))
	}
	return s, nil
}
