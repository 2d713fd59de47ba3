package partition

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/partition/nft"

	"golang.org/x/sys/unix"
)

// held is a partition that this process has in effect, or was making.
type held struct {
	ns    *namespace
	conn  *nft.Conn
	table string
	made  []nft.Family // whose table was made
	sides []side
	u     undo
}

// most is how many elements one batch has, which keeps it below the 212 kB that
// any socket takes: an IPv6 network is 2 elements of 44 and 32 bytes.
const most = 1500

// slack is added to the time after which the elements end by themselves, because
// they are made before the rules that give them effect; the guard's revert comes
// first. It is what making n elements takes at most.
func slack(n int) time.Duration { return time.Millisecond + time.Duration(n)*time.Microsecond }

// Inject makes the tables, fills the sets and last adds the chains, all at once:
// from that moment the partition is in effect for every peer.
func (f *Fault) Inject(ctx context.Context, p inject.Plan) (inject.Effect, error) {
	fail := func(err error) (inject.Effect, error) {
		return inject.Effect{}, fmt.Errorf("inject partition: %w", err)
	}
	if err := errors.Join(ctx.Err(), p.SameBoot()); err != nil {
		return fail(err)
	}
	c, err := f.decoded(p.Spec.Params)
	if err != nil {
		return fail(fmt.Errorf("params: %w", err))
	}
	u, err := decodeUndo(p.Undo)
	if err != nil {
		return fail(err)
	}
	h, err := f.hold(p, u)
	if err != nil {
		return fail(err)
	}
	seen, err := h.ns.look()
	if err != nil {
		return fail(err)
	}
	if err := f.step("held"); err != nil {
		return fail(err)
	}
	h.sides = c.sides(seen.loopback)
	if err := errors.Join(h.makeTables(f.owner, c, markName(p)), f.step("tables")); err != nil {
		return fail(err)
	}
	if err := errors.Join(h.fill(c, p.Spec.For+slack(len(h.sides)*c.peers.count())), f.step("filled")); err != nil {
		return fail(err)
	}
	filled := time.Now()
	b := &nft.Batch{}
	for _, s := range h.sides {
		s.build(b, h.table, c, u.Devices)
	}
	if err := errors.Join(explain(h.conn.Commit(b)), f.step("cut")); err != nil {
		return fail(err)
	}
	e, err := h.readBack(c, filled.Add(p.Spec.For))
	if err != nil {
		return fail(err)
	}
	return e, nil
}

// hold opens the namespace and a socket there, which will own the tables.
func (f *Fault) hold(p inject.Plan, u undo) (*held, error) {
	ns, err := u.Namespace.reopen()
	if err != nil {
		return nil, err
	}
	conn, err := ns.dial()
	if err != nil {
		ns.close()
		return nil, err
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
	closeLater(h.conn)
	h.ns.close()
}

// closeLater does not wait: the kernel takes 7 to 20 ms to close a netfilter
// socket, and another fault's deadline may be due. The socket owns nothing then.
func closeLater(c *nft.Conn) {
	go func() { _ = c.Close() }() // an error would not change that it is closed
}

// makeTables makes the tables with their mark and their empty sets, or nothing.
func (h *held) makeTables(owner uint32, c cut, mark string) error {
	b := &nft.Batch{}
	var families []nft.Family
	for _, s := range h.sides {
		families = append(families, s.family)
		b.NewTable(s.family, h.table, owner)
		b.NewChain(s.family, h.table, mark, nft.Hook{})
		for _, set := range c.peers.sets() {
			b.NewSet(s.family, h.table, set.Set)
		}
		if len(c.ports) > 0 {
			b.NewSet(s.family, h.table, nft.Set{Name: setPorts, KeyLen: 2})
		}
	}
	switch err := h.conn.Commit(b); {
	case errors.Is(err, unix.EEXIST), errors.Is(err, unix.EPERM) && owner != 0 && h.exists(families):
		return fmt.Errorf("a table %s exists already and is not ours: %w", h.table, inject.ErrRefused)
	case owner != 0 && unknownFlag(err):
		return h.makeTables(0, c, mark)
	case err != nil:
		return explain(err)
	}
	h.made = families
	return nil
}

func (h *held) exists(families []nft.Family) bool {
	for _, f := range families {
		if there, _, err := h.conn.Table(f, h.table); err == nil && there {
			return true
		}
	}
	return false
}

// unknownFlag is how a kernel before 5.12 answers to the owner flag.
func unknownFlag(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL)
}

// fill adds the elements, in batches that any socket takes.
func (h *held) fill(c cut, timeout time.Duration) error {
	for _, s := range h.sides {
		for _, set := range c.peers.sets() {
			for hosts := set.hosts; len(hosts) > 0; hosts = hosts[min(most, len(hosts)):] {
				b := &nft.Batch{}
				b.AddAddresses(s.family, h.table, set.Name, hosts[:min(most, len(hosts))], timeout)
				if err := h.conn.Commit(b); err != nil {
					return err
				}
			}
			for nets := set.ranges; len(nets) > 0; nets = nets[min(most, len(nets)):] {
				b := &nft.Batch{}
				b.AddRanges(s.family, h.table, set.Name, nets[:min(most, len(nets))], timeout)
				if err := h.conn.Commit(b); err != nil {
					return err
				}
			}
		}
		b := &nft.Batch{}
		b.AddPorts(s.family, h.table, setPorts, c.ports)
		if err := h.conn.Commit(b); err != nil {
			return err
		}
	}
	return nil
}

// readBack counts what is in effect. The kernel has been seen to lose elements
// without an error. After until they may have ended by themselves.
func (h *held) readBack(c cut, until time.Time) (inject.Effect, error) {
	for _, s := range h.sides {
		for _, set := range c.peers.sets() {
			n, err := h.conn.CountElements(s.family, h.table, set.Name)
			if err != nil {
				return inject.Effect{}, fmt.Errorf("read back %s: %w", set.Name, err)
			}
			if n != set.len() && time.Now().Before(until) {
				return inject.Effect{}, fmt.Errorf("read back %s: %d of %d elements are there", set.Name, n, set.len())
			}
		}
		n, err := h.conn.Counters(s.family, h.table, s.chain)
		if err != nil || n.Rules == 0 {
			return inject.Effect{}, errors.Join(fmt.Errorf("read back %s: no rule is there", s.chain), err)
		}
	}
	var how []string
	if c.in() {
		how = append(how, "arrives from")
	}
	if c.out() {
		how = append(how, "leaves to")
	}
	seen := fmt.Sprintf("%s dropped that %s %s", c.what(), strings.Join(how, " or "), c.peers)
	if c.out() && len(h.u.Devices) == 0 {
		seen += "; no interface is there to leave by"
	}
	if owned, err := h.owned(); err != nil || !owned {
		seen += "; the table is not owned (kernel before 5.12), so that if the guard dies it ends at the deadline"
	}
	return inject.Effect{Seen: seen, Count: c.peers.count()}, nil
}

func (h *held) owned() (bool, error) {
	_, owner, err := h.conn.Table(h.made[0], h.table)
	return owner != 0, err
}
