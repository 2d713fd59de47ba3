package partition

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/netns"
	"github.com/lockaudit/lockaudit/inject/partition/nft"

	"golang.org/x/sys/unix"
)

// ownerWait is how long a table may outlive the process that owned it; the kernel
// takes a millisecond or two.
const ownerWait = 2 * time.Second

// Revert reads the counters, removes the tables and reads back that they are
// gone. Another process than the one that injected takes only a table that bears
// the plan's mark; if its owner still lives, it borrows that one's socket.
func (f *Fault) Revert(ctx context.Context, p inject.Plan) (inject.Effect, error) {
	f.mu.Lock()
	h := f.plans[p.ID]
	f.mu.Unlock()
	var e inject.Effect
	var err error
	if h == nil {
		e, err = recoverPlan(ctx, p)
	} else if e, err = h.revert(); err == nil {
		f.mu.Lock()
		delete(f.plans, p.ID)
		f.mu.Unlock()
		h.close()
	}
	if err != nil {
		return inject.Effect{}, fmt.Errorf("revert %s: %w", f.kind, err)
	}
	return e, nil
}

func (h *held) revert() (inject.Effect, error) {
	if h.stop != nil {
		close(h.stop)
		<-h.flapped
		h.stop = nil
	}
	e, err := h.counted()
	if err != nil && !errors.Is(err, unix.ENOENT) { // evidence is not worth a longer partition
		e.Seen = "counters unreadable: " + err.Error()
	}
	if h.taken != nil {
		n, err := h.release()
		if err != nil {
			return e, err
		}
		e.Seen += fmt.Sprintf("; %d let go", n)
	}
	if h.cut.sever {
		e.Seen += h.sever()
	}
	if err := h.remove(); err != nil {
		return e, err
	}
	for _, f := range h.made {
		if there, _, err := h.conn.Table(f, h.table); err != nil || there {
			return e, errors.Join(fmt.Errorf("table %v %s is still there", f, h.table), err)
		}
	}
	if late := h.late(); late != "" { // after the heal: nobody waits for it
		e.Seen += "; " + late
	}
	return e, nil
}

// release lets go of what is kept, then has the rules match no more, and lets go of
// what came meanwhile. Only then may the chain go: the kernel drops what waits in
// the queues of a namespace whenever a hook there is removed.
func (h *held) release() (int, error) {
	n, err := h.taken.Release()
	if err != nil || len(h.made) == 0 {
		return n, err
	}
	b := &nft.Batch{}
	for _, set := range h.sets {
		b.FlushSet(nft.INet, h.table, set)
	}
	if err := h.conn.Commit(b); err != nil && !errors.Is(err, unix.ENOENT) {
		return n, err
	}
	more, err := h.taken.Release()
	return n + more, err
}

// remove removes the tables; that one has ended otherwise is no error.
func (h *held) remove() error {
	b := &nft.Batch{}
	for _, f := range h.made {
		b.DelTable(f, h.table)
	}
	err := h.conn.Commit(b)
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	for _, f := range h.made {
		b := &nft.Batch{}
		b.DelTable(f, h.table)
		if err := h.conn.Commit(b); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

// counted is what was dropped, in words and packets.
func (h *held) counted() (inject.Effect, error) {
	var parts []string
	e := inject.Effect{Seen: "nothing was in effect"}
	for _, s := range h.sides {
		if !slices.Contains(h.made, s.family) {
			continue
		}
		n, err := h.conn.Counters(s.family, h.table, s.chain)
		if err != nil {
			return e, err
		}
		where := "from the peers"
		if s.out {
			where = "to the peers"
		}
		parts = append(parts, fmt.Sprintf("%d packets, %s %s", n.Packets, bytesInWords(n.Bytes), where))
		e.Count += int(n.Packets)
	}
	done := " dropped"
	if h.taken != nil {
		done = " kept back"
	}
	if len(parts) > 0 {
		e.Seen = strings.Join(parts, "; ") + done
	}
	if h.phases > 0 {
		e.Seen += fmt.Sprintf("; it was on %d times", h.phases)
	}
	if h.flapErr != nil {
		e.Seen += ", and then no more: " + h.flapErr.Error()
	}
	return e, nil
}

// late names interfaces that came after the cut, if what left by them was not cut.
func (h *held) late() string {
	if !slices.Contains(h.made, nft.Netdev) {
		return ""
	}
	now, err := look(h.ns, true, func() {})
	if err != nil {
		return ""
	}
	fresh := slices.DeleteFunc(now.devices, func(d string) bool { return slices.Contains(h.u.Devices, d) })
	if len(fresh) == 0 {
		return ""
	}
	return "not what left by " + list(fresh) + ", which appeared later"
}

func bytesInWords(n uint64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	default:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
}

// recoverPlan works from the plan alone, mostly to find that the kernel has done
// it: with its owner the table is gone.
func recoverPlan(ctx context.Context, p inject.Plan) (inject.Effect, error) {
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
	if err == nil {
		defer ns.Close()
		var conn *nft.Conn
		if conn, err = dial(ns); err == nil {
			defer closeLater(conn)
			return removeMarked(ctx, ns, conn, p)
		}
	}
	if errors.Is(err, nft.ErrNoNftables) {
		return inject.Effect{Seen: "this kernel has no nf_tables, so that no table of it can be there"}, nil
	}
	if errors.Is(err, inject.ErrGone) {
		return inject.Effect{Seen: fmt.Sprintf("network namespace %v is gone, and everything in it", u.Namespace)}, nil
	}
	return inject.Effect{}, err
}

func removeMarked(ctx context.Context, ns *netns.Namespace, conn *nft.Conn, p inject.Plan) (inject.Effect, error) {
	e := inject.Effect{Seen: "no table of it is left"}
	ctx, cancel := context.WithTimeout(ctx, ownerWait)
	defer cancel()
	for _, f := range []nft.Family{nft.INet, nft.Netdev} {
		for {
			last := ctx.Err() != nil // one look more than there is time: the removal may have taken it
			over, err := removeOne(ns, conn, f, tableName(p), markName(p), &e)
			if over {
				break
			}
			if last {
				return e, errors.Join(fmt.Errorf("table %v %s remains: %w", f, tableName(p), ctx.Err()), err)
			}
			ts := unix.NsecToTimespec(int64(time.Millisecond))
			_ = unix.Nanosleep(&ts, nil) // its owner is on the way out
		}
	}
	return e, nil
}

// removeOne removes a table if it bears the mark. over means that none is left, or
// that it is somebody else's.
func removeOne(ns *netns.Namespace, conn *nft.Conn, f nft.Family, table, mark string, e *inject.Effect) (over bool, err error) {
	there, owner, err := conn.Table(f, table)
	if err != nil || !there {
		return err == nil, err
	}
	marked, err := conn.HasChain(f, table, mark)
	if err != nil {
		return false, err
	}
	if !marked {
		// It may have gone in between.
		if there, _, err = conn.Table(f, table); err == nil && there {
			e.Seen = fmt.Sprintf("a table %v %s is not of this plan and was left alone", f, table)
		}
		return err == nil, err
	}
	b := &nft.Batch{}
	b.DelTable(f, table)
	if owner == 0 {
		err = conn.Commit(b)
	} else {
		err = asOwner(ns, owner, func(c *nft.Conn) error { return c.Commit(b) })
	}
	if err == nil {
		e.Seen = "its tables were removed"
	}
	return false, err // and look again
}
