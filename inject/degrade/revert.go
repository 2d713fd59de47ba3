package degrade

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/lockaudit/lockaudit/inject"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Revert removes what bears the plan's handles, and reads back that the interfaces
// send through what they sent through before. Nothing is held by the process that
// has injected: any other does the same.
func (f *Fault) Revert(_ context.Context, p inject.Plan) (inject.Effect, error) {
	e, err := revert(p)
	if err != nil {
		return inject.Effect{}, fmt.Errorf("revert degrade: %w", err)
	}
	return e, nil
}

func revert(p inject.Plan) (inject.Effect, error) {
	if err := p.SameBoot(); errors.Is(err, inject.ErrGone) {
		return inject.Effect{Seen: "of an earlier boot, nothing of it exists any more"}, nil
	} else if err != nil {
		return inject.Effect{}, err
	}
	u, err := decodeUndo(p.Undo)
	if err != nil {
		return inject.Effect{}, err
	}
	ns, err := u.Namespace.Search()
	var c *conn
	if err == nil {
		defer ns.Close()
		c, err = dial(ns)
	}
	if errors.Is(err, inject.ErrGone) {
		return inject.Effect{Seen: fmt.Sprintf("network namespace %v is gone, and everything in it", u.Namespace)}, nil
	}
	if err != nil {
		return inject.Effect{}, err
	}
	defer c.close()
	var seen []string
	var errs []error
	count := 0
	for _, d := range u.Devices {
		said, packets, err := c.remove(d, handlesOf(p))
		seen, count, errs = append(seen, d.Name+": "+said), count+packets, append(errs, err)
	}
	return inject.Effect{Seen: strings.Join(seen, "; "), Count: count}, errors.Join(errs...)
}

// remove takes ours off one interface. A root with another handle is somebody
// else's; the kernel itself checks the handle, so that nothing can come in between.
func (c *conn) remove(d device, h handles) (said string, packets int, err error) {
	l, err := c.LinkByIndex(d.Index)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return "the interface is gone", 0, nil
	}
	if err != nil {
		return "", 0, fmt.Errorf("%s: %w", d.Name, err)
	}
	now, err := c.qdiscsOf(d.Index)
	if err != nil {
		return "", 0, fmt.Errorf("%s: %w", d.Name, err)
	}
	said = "nothing was in effect"
	if root := rootOf(now); root.Handle == h.root && root.Kind == "prio" {
		said, packets = c.counted(l, h)
		err := c.QdiscDel(netlink.NewPrio(netlink.QdiscAttrs{LinkIndex: d.Index, Handle: h.root, Parent: netlink.HANDLE_ROOT}))
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) { // these: it has just gone
			return said, packets, fmt.Errorf("%s: remove prio: %w", d.Name, err)
		}
		more, err := c.restored(d, h)
		return said + more, packets, err
	} else if root.Handle != 0 {
		said = fmt.Sprintf("%v is somebody else's and was left alone", root)
	}
	return said, packets, nil
}

// restored reads back what the kernel has made in place of ours.
func (c *conn) restored(d device, h handles) (said string, err error) {
	now, err := c.qdiscsOf(d.Index)
	root := rootOf(now)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", d.Name, err)
	case root.Handle == h.root:
		return "", fmt.Errorf("%s: prio is still there", d.Name)
	case root.Handle != 0:
		return fmt.Sprintf("; %v of somebody else is there now", root), nil
	case !sameQdiscs(d.Before, now):
		// The default itself has changed (net.core.default_qdisc, the number of queues,
		// the MTU): the kernel's present one is what belongs there.
		return fmt.Sprintf("; the kernel's default there is now %s, it was %s", words(now), words(d.Before)), nil
	}
	return "; " + root.Kind + " is back", nil
}

// counted is what went through netem.
func (c *conn) counted(l netlink.Link, h handles) (string, int) {
	all, err := c.QdiscList(l)
	if err != nil { // evidence is not worth a longer fault
		return "counters unreadable: " + err.Error(), 0
	}
	for _, q := range all {
		if q.Attrs().Handle != h.netem || q.Attrs().Statistics == nil {
			continue
		}
		s := q.Attrs().Statistics
		if s.Basic == nil || s.Queue == nil {
			continue
		}
		n := int(s.Basic.Packets)
		return fmt.Sprintf("%d packets delivered, %d dropped, %d held back at the end and lost", n, s.Queue.Drops, s.Queue.Qlen), n + int(s.Queue.Drops)
	}
	return "no packet was counted", 0
}
