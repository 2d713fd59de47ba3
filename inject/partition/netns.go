package partition

import (
	"errors"

	"github.com/lockaudit/lockaudit/inject/netns"
	"github.com/lockaudit/lockaudit/inject/partition/nft"

	"golang.org/x/sys/unix"
)

// Netns names a network namespace.
type Netns = netns.Name

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

func notThere(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH)
}
