package degrade

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/netns"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// try does what Inject does, on the loopback device of a network namespace that is
// made for it and gone with the thread: the node's own are not touched.
func try() error {
	return netns.OnThrowawayThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace to try in: %w; CAP_SYS_ADMIN is needed: %w", err, inject.ErrUnsupported)
		}
		c, err := dialHere()
		if err != nil {
			return err
		}
		defer c.close()
		lo, err := c.LinkByName("lo")
		if err != nil {
			return err
		}
		return c.tryOn(lo.Attrs().Index)
	})
}

func (c *conn) tryOn(index int) error {
	at := netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT}
	var missing []string
	tried := func(name string, err error) error {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
			missing = append(missing, name)
			return nil
		}
		if err != nil {
			return fmt.Errorf("try %s: %w", name, err)
		}
		return nil
	}
	netem := netlink.NewNetem(at, netlink.NetemQdiscAttrs{Latency: 1})
	err := c.QdiscAdd(netem)
	if err == nil {
		err = c.QdiscDel(netem)
	}
	if err := tried("netem (sch_netem)", err); err != nil {
		return err
	}
	prio := netlink.NewPrio(at)
	if err := tried("prio (sch_prio)", c.QdiscAdd(prio)); err != nil {
		return err
	}
	if len(missing) == 0 {
		o := order{}
		for _, s := range []string{"192.0.2.1", "2001:db8::/32"} {
			p, err := parsePeer(s)
			if err != nil {
				return err
			}
			o.peers = append(o.peers, p)
		}
		for _, f := range o.filtersFor(index, handles{root: at.Handle}) {
			if err := tried("flower (cls_flower)", c.FilterAdd(f)); err != nil || len(missing) > 0 {
				break
			}
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("this kernel has no %s, nor a module of it that can be loaded: %w", strings.Join(missing, " and no "), inject.ErrUnsupported)
	}
	return nil
}
