package partition

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/netns"
	"github.com/lockaudit/lockaudit/inject/partition/nft"
)

// held is a partition that this process has in effect, or was making.
type held struct {
	mu    sync.Mutex // of conn, once it flaps
	ns    *netns.Namespace
	conn  *nft.Conn
	table string
	made  []nft.Family // whose table was made
	sides []side
	u     undo
	taken Taken // what a Taker keeps
	cut   cut
	sets  []string // of the peers

	stop, flapped chan struct{} // of a partition that flaps
	phases        int
	flapErr       error
}

// Inject makes the tables, fills the sets and last adds the chains, all at once:
// from that moment the partition is in effect for every peer.
func (f *Fault) Inject(ctx context.Context, p inject.Plan) (inject.Effect, error) {
	e, err := f.inject(ctx, p)
	if err != nil {
		return inject.Effect{}, fmt.Errorf("inject %s: %w", f.kind, err)
	}
	return e, nil
}

func (f *Fault) inject(ctx context.Context, p inject.Plan) (inject.Effect, error) {
	none := inject.Effect{}
	if err := errors.Join(ctx.Err(), p.SameBoot()); err != nil {
		return none, err
	}
	c, err := f.decoded(p.Spec.Params)
	if err != nil {
		return none, fmt.Errorf("params: %w", err)
	}
	u, err := f.undone(p.Undo)
	if err != nil {
		return none, err
	}
	h, err := f.hold(p, u)
	if err != nil {
		return none, err
	}
	h.sides, h.cut = c.sides(u), c
	for _, set := range c.peers.sets() {
		h.sets = append(h.sets, set.Name)
	}
	if f.taker != nil {
		if err := h.ns.Enter(func() (err error) { h.taken, err = f.taker(u.Queue); return err }); err != nil {
			return none, err
		}
	}
	if err := f.step("held"); err != nil {
		return none, err
	}
	since, err := h.make(f, c, markName(p), p.Spec.For)
	if err != nil {
		return none, err
	}
	if err := f.step("cut"); err != nil {
		return none, err
	}
	e, err := h.readBack(f, c, since+p.Spec.For)
	if err != nil {
		return none, err
	}
	if c.flap.period > 0 {
		h.stop, h.flapped, h.phases = make(chan struct{}), make(chan struct{}), 1
		go h.flapping(c.flap, time.Now().Add(p.Spec.For-(inject.Now()-since)))
	}
	e.Since = since
	return e, nil
}

// hold opens the namespace and a socket there, which will own the tables.
func (f *Fault) hold(p inject.Plan, u undo) (*held, error) {
	ns, err := u.Namespace.Reopen()
	if err != nil {
		return nil, err
	}
	conn := f.spare.take(ns)
	if conn == nil {
		if conn, err = dial(ns); err != nil {
			ns.Close()
			return nil, err
		}
	}
	h := &held{ns: ns, conn: conn, table: tableName(p), u: u}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, taken := f.plans[p.ID]; taken || p.ID == "" {
		h.close()
		return nil, fmt.Errorf("fault %q is in effect already: %w", p.ID, inject.ErrRefused)
	}
	f.plans[p.ID] = h
	return h, nil
}

func (h *held) close() {
	if h.taken != nil {
		h.taken.Close()
	}
	closeLater(h.conn)
	h.ns.Close()
}

// closeLater does not wait: the kernel takes 7 to 20 ms to close a netfilter
// socket, and another fault's deadline may be due. The socket owns nothing then.
func closeLater(c *nft.Conn) {
	go func() { _ = c.Close() }() // an error would not change that it is closed
}

// readBack counts what is in effect. The kernel has been seen to lose elements
// without an error. After until, on the clock of Now, they may have ended.
func (h *held) readBack(f *Fault, c cut, until time.Duration) (inject.Effect, error) {
	for _, family := range families(h.sides) {
		for _, set := range c.peers.sets() {
			n, err := h.conn.CountElements(family, h.table, set.Name)
			if err != nil {
				return inject.Effect{}, fmt.Errorf("read back %s: %w", set.Name, err)
			}
			if n != set.len() && inject.Now() < until {
				return inject.Effect{}, fmt.Errorf("read back %s: %d of %d elements are there", set.Name, n, set.len())
			}
		}
	}
	for _, s := range h.sides {
		n, err := h.conn.Counters(s.family, h.table, s.chain)
		if err != nil || n.Rules == 0 {
			return inject.Effect{}, errors.Join(fmt.Errorf("read back %s: no rule is there", s.chain), err)
		}
	}
	seen, err := h.words(f, c)
	return inject.Effect{Seen: seen, Count: c.peers.count()}, err
}

// words says what is in effect.
func (h *held) words(f *Fault, c cut) (string, error) {
	var how []string
	if c.in() {
		how = append(how, "arrives from")
	}
	if c.out() {
		how = append(how, "leaves to")
	}
	done := "dropped"
	if f.taker != nil {
		done = "kept back"
	}
	seen := fmt.Sprintf("%s %s that %s %s", c.what(), done, strings.Join(how, " or "), c.peers)
	if h.u.Group != nil {
		seen += ", only packets of " + h.u.Group.String()
	}
	if s := c.flap.String(); s != "" {
		seen += ", " + s
	}
	if h.u.Way == forward && len(h.u.Devices) == 0 {
		seen += "; no interface is there to leave by"
	}
	_, owner, err := h.conn.Table(h.made[0], h.table)
	if err != nil {
		return "", err
	}
	if owner == 0 {
		seen += "; the table is not owned (kernel before 5.12), so that if the guard dies it ends at the deadline"
	}
	return seen, nil
}
