package check

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// relay stands between a client and one lock server, and can lose what the server says.
type relay struct {
	server   string
	listener net.Listener
	mode     atomic.Int32
	// asked counts bytes from clients, lost bytes of the server's that were not passed on.
	asked, lost atomic.Int64

	mu    sync.Mutex
	conns []net.Conn
}

// Modes of a relay.
const (
	passes int32 = iota
	// swallows: what the server says is lost, as in a partition of one direction.
	swallows
	// breaks: the connection is reset instead of passing on what the server says.
	breaks
)

func newRelay(server string) (*relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{server: server, listener: l}
	go r.accept()
	return r, nil
}

func (r *relay) address() string { return r.listener.Addr().String() }

func (r *relay) close() {
	_ = r.listener.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.conns = nil
}

func (r *relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		go r.serve(client)
	}
}

func (r *relay) serve(client net.Conn) {
	server, err := net.Dial("tcp", r.server)
	if err != nil {
		_ = client.Close()
		return
	}
	r.mu.Lock()
	r.conns = append(r.conns, client, server)
	r.mu.Unlock()
	go func() {
		_, _ = io.Copy(counted{server, &r.asked}, client)
		_ = server.(*net.TCPConn).CloseWrite()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := server.Read(buf)
		switch mode := r.mode.Load(); {
		case n > 0 && mode == passes:
			_, _ = client.Write(buf[:n])
		case n > 0:
			r.lost.Add(int64(n))
			if mode == breaks {
				_ = client.(*net.TCPConn).SetLinger(0)
				err = io.EOF
			}
		}
		if err != nil {
			_ = client.Close()
			_ = server.Close()
			return
		}
	}
}

// counted counts what is written.
type counted struct {
	io.Writer
	n *atomic.Int64
}

func (c counted) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.n.Add(int64(n))
	return n, err
}
