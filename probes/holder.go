package probes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/history"
)

// ErrSeveral: the holder may be one of several instances. Another look may tell.
var ErrSeveral = errors.New("several instances fit")

// holderWatch follows who holds the application's own key, by looking. What is between
// two looks is not known, so that a change has two times: the last look that did not show
// it, and the first that did.
type holderWatch struct {
	t        *Trial
	observer *party
	last     sight
	// hosts are, of a holder whose service tells several connections, the ones that
	// were there each time.
	hosts []string
	// fresh: the last look is the first to show this hold, or that it was renewed.
	fresh bool
}

// sight is one look.
type sight struct {
	held         bool
	id           string // of the hold; a fingerprint where the service's own is a secret
	owner        string // as the holder wrote it: for no record
	left, lease  time.Duration
	asked, heard time.Duration // on the clock of the history
	// began is when the first look of all was asked: what was before it is another trial's.
	began time.Duration
	// unseen is when the look before, which did not show this holder, was asked; it is
	// asked itself if there was none.
	unseen time.Duration
}

// look asks the service who holds the key now.
func (w *holderWatch) look(ctx context.Context) (sight, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	r := w.observer.proc.Conn().Do(ctx, clients.Request{Op: clients.OpObserve, Key: w.t.RealKey})
	if r.Type != history.OK || r.Answer == nil || r.Answer.Holder == nil {
		return sight{}, outcome("look at "+w.t.RealKey, r)
	}
	h := r.Answer.Holder
	s := sight{held: h.Held, left: ms(h.LeftMs), lease: ms(h.LeaseMs), owner: h.Owner, asked: r.Invoked, heard: r.Returned, unseen: r.Invoked}
	if h.Held {
		s.id = holdID(h)
	}
	s.began = s.asked
	if w.last.heard > 0 {
		s.began, s.unseen = w.last.began, w.last.unseen
		if w.last.id != s.id {
			s.unseen = w.last.asked
		}
	}
	w.fresh = w.last.heard > 0 && (w.last.id != s.id || w.t.renewed(w.last, s))
	if w.last.id != s.id {
		w.hosts = nil
	}
	w.last = s
	return s, nil
}

// holdID names a hold in the record. A number is a revision; everything else may be what
// releases the lock.
func holdID(h *clients.Holder) string {
	if h.ID != h.Owner && isNumber(h.ID) {
		return h.ID
	}
	return fingerprint(h.ID)
}

func isNumber(s string) bool {
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

// until looks until the sight is as wanted.
func (w *holderWatch) until(ctx context.Context, limit time.Duration, wanted func(sight) (bool, error)) (s sight, ok bool, err error) {
	ok, err = poll(ctx, time.Now().Add(limit), func() (bool, error) {
		if s, err = w.look(ctx); err != nil {
			return false, err
		}
		return wanted(s)
	})
	return s, ok, err
}

// resolve finds the process of the holder that was just seen.
func (w *holderWatch) resolve(ctx context.Context, s sight) (Instance, error) {
	in, err := w.t.Stage.Instance(ctx, Who{Owner: s.owner})
	switch {
	case err != nil && s.owner == "" && !errors.Is(err, errNeedsPeers):
		return w.signed(ctx, s, err)
	case !errors.Is(err, errNeedsPeers):
		return in, err
	}
	reply := w.observer.proc.Conn().Do(ctx, clients.Request{Op: clients.OpPeers, Key: w.t.RealKey})
	if reply.Type != history.OK || reply.Answer == nil {
		return nil, fmt.Errorf("%w: whose connection the lock is cannot be asked: %s %s", ErrSkip, reply.Code, reply.Err)
	}
	peers := reply.Answer.Peers
	if reply.Answer.Recent {
		if !w.fresh {
			return nil, fmt.Errorf("%w: its connection can be told only in the moment in which the lock is taken or renewed, which was not seen", ErrSeveral)
		}
		if peers, err = w.t.Stage.Foreign(ctx, peers); err != nil {
			return nil, err
		}
		peers = w.always(peers)
	}
	return w.t.Stage.Instance(ctx, Who{Owner: s.owner, Peers: peers})
}

// signLimit bounds how long a holder may take, once it holds, to say who it is.
const signLimit = time.Second

// signed waits for a holder that writes its name into the key after it was granted, as
// with etcd's concurrency.Mutex, whose keys are made empty. why is what is wrong with
// one that never does.
func (w *holderWatch) signed(ctx context.Context, s sight, why error) (Instance, error) {
	now, ok, err := w.until(ctx, signLimit, func(now sight) (bool, error) { return now.owner != "" || now.id != s.id, nil })
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, why
	case now.id != s.id:
		return nil, fmt.Errorf("%w: the holder gave the lock back before it said who it is", ErrPremise)
	}
	return w.t.Stage.Instance(ctx, Who{Owner: now.owner})
}

// always keeps the connections from hosts that were among the peers of this hold each
// time that it was taken or renewed.
func (w *holderWatch) always(peers []string) []string {
	var hosts, out []string
	for _, p := range peers {
		if host, _, err := net.SplitHostPort(p); err == nil && (w.hosts == nil || slices.Contains(w.hosts, host)) {
			hosts, out = append(hosts, host), append(out, p)
		}
	}
	w.hosts = append([]string{}, hosts...)
	return out
}

// errNeedsPeers: the plan wants the holder found by its connection.
var errNeedsPeers = fmt.Errorf("%w: no connection is named", ErrSkip)

// NeedsPeers is the answer of a stage whose plan finds the holder by its connection.
func NeedsPeers() error { return errNeedsPeers }

// ttl is the lease of a hold: what the service tells, or what the plan says.
func (t *Trial) ttl(s sight) time.Duration {
	switch {
	case s.lease > 0:
		return s.lease
	case s.left == 0:
		return 0 // there is none
	}
	return max(t.TTL, s.left)
}

// renewed: it is the same hold, and its lease ends later than it did. The end may seem
// to move by itself where a service counts in whole seconds.
func (t *Trial) renewed(before, now sight) bool {
	slack := 50 * time.Millisecond
	if before.left%time.Second == 0 && now.left%time.Second == 0 {
		slack += time.Second
	}
	return now.held && now.id == before.id && now.left > 0 && now.asked+now.left > before.heard+before.left+slack
}

// grant records that an instance holds the lock, and by which look that was seen. The
// lease ends, at the earliest, when the rest that was seen is over. Which hold it is the
// look says: the grant has no token, since the next trial may find the same hold again.
func (t *Trial) grant(observer *party, actor string, in Instance, s sight) {
	t.seenHolder(observer, s)
	e := history.Event{Actor: actor, Op: history.OpAcquire, Type: history.Invoke, Key: t.RealKey, At: s.unseen}
	if in != nil {
		e.Node = in.Node()
	}
	ttl := t.ttl(s)
	switch renewed := s.asked + s.left - ttl; {
	case ttl > 0 && renewed >= s.began:
		e.At = renewed // the latest renewal, or the grant itself
	case ttl > 0: // before anybody looked: what is known is the rest
		e.At, ttl = s.asked, s.left
	}
	invoke := t.record(e)
	e.Type, e.Call, e.At = history.OK, invoke.Seq, s.heard
	e.Grant = &history.Grant{TTL: ttl}
	t.record(e)
}

// seenHolder records what one look showed. The truth changed after the look before it.
func (t *Trial) seenHolder(observer *party, s sight) {
	e := observer.event(history.OpObserve, history.Invoke)
	e.Key, e.At = t.RealKey, max(s.unseen, 1)
	invoke := t.record(e)
	e.Type, e.Call, e.At = history.OK, invoke.Seq, s.heard
	e.Holder = &history.Holder{Held: s.held, ID: s.id, Left: s.left, Lease: s.lease}
	t.record(e)
}

// unwatched ends what the record knows of holds: nobody looks any more, and the next
// trial may call the same process by another name.
func (t *Trial) unwatched(actors ...string) {
	for _, actor := range actors {
		e := history.Event{Actor: actor, Op: history.OpRelease, Type: history.Invoke, Key: t.RealKey}
		invoke := t.record(e)
		e.Type, e.Call, e.Err = history.Info, invoke.Seq, "it is not watched any more"
		t.record(e)
	}
}
