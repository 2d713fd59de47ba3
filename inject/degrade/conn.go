package degrade

import (
	"fmt"

	"github.com/lockaudit/lockaudit/inject/netns"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// conn speaks to the kernel about the interfaces of one namespace: through the
// library, and for what it hides, options as the kernel gives them, by hand.
type conn struct {
	*netlink.Handle
	raw map[int]*nl.SocketHandle
}

// dial opens the sockets in the namespace, after a check that it is the one.
func dial(ns *netns.Namespace) (*conn, error) {
	if err := ns.Identify(); err != nil {
		return nil, err
	}
	var c *conn
	err := ns.Enter(func() (err error) {
		c, err = dialHere()
		return err
	})
	return c, err
}

// dialHere opens them in the namespace of the calling thread.
func dialHere() (*conn, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open route socket: %w", err)
	}
	s, err := nl.Subscribe(unix.NETLINK_ROUTE)
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("open route socket: %w", err)
	}
	return &conn{h, map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}}, nil
}

func (c *conn) close() {
	c.Close()
	for _, s := range c.raw {
		s.Close()
	}
}

func (c *conn) request(kind, flags int, data ...nl.NetlinkRequestData) ([][]byte, error) {
	r := nl.NewNetlinkRequest(kind, flags)
	r.Sockets = c.raw
	for _, d := range data {
		r.AddData(d)
	}
	return r.Execute(unix.NETLINK_ROUTE, 0)
}
