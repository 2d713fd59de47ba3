package nats

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks"
)

// validKey is what the library takes for a key.
var validKey = regexp.MustCompile(`^[-/_=A-Za-z0-9]+(\.[-/_=A-Za-z0-9]+)*$`)

func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, answerLimit)
}

// Acquire implements locks.Client. The grant has the bucket's TTL, whatever was asked for.
func (c *client) Acquire(ctx context.Context, key string, ttl, wait time.Duration) (locks.Grant, error) {
	if !validKey.MatchString(key) || ttl <= 0 {
		return locks.Grant{}, fmt.Errorf("acquire %q for %s: ttl must be set, and the key of letters, digits and -/_=, with single dots inside: %w", key, ttl, locks.ErrRefused)
	}
	h := &hold{nonce: nuid.Next()}
	err := locks.Retry(ctx, wait, func() error {
		ctx, cancel := bounded(ctx)
		defer cancel()
		var err error
		h.revision, err = c.kv.Create(ctx, key, []byte(h.nonce))
		if errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) || wrongSequence(err) {
			return fmt.Errorf("%w: %w", locks.ErrHeld, err)
		}
		return err
	})
	if err != nil {
		return locks.Grant{}, fmt.Errorf("acquire %s: %w", key, err)
	}
	if h.revision > math.MaxInt64 {
		return locks.Grant{}, fmt.Errorf("acquire %s: revision %d is beyond what a token can be", key, h.revision)
	}
	h.token = history.OrderedToken(int64(h.revision))
	c.mu.Lock()
	c.holds[key] = h
	c.mu.Unlock()
	return locks.Grant{Key: key, Token: h.token, TTL: c.lease}, nil
}

// wrongSequence: the key is not as it was expected to be, so that nothing was written.
// Several copies say it with another code than one (and mean another request that is
// under way by it).
func wrongSequence(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// find returns the own hold that g names.
func (c *client) find(g locks.Grant) (*hold, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.holds[g.Key]
	if h == nil || !h.token.Equal(g.Token) {
		return nil, fmt.Errorf("token %s is not held here: %w", g.Token, locks.ErrLost)
	}
	return h, nil
}

func (c *client) forget(key string, h *hold) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holds[key] == h {
		delete(c.holds, key)
	}
}

// change carries out a conditional write on the hold's latest revision. If that is not
// the key's, the reply to an own renewal may have been lost: one that is found is where
// to go on from.
func (c *client) change(ctx context.Context, g locks.Grant, write func(ctx context.Context, h *hold, revision uint64) (uint64, error)) error {
	h, err := c.find(g)
	if err != nil {
		return err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	c.mu.Lock()
	revision := h.revision
	c.mu.Unlock()
	for again := true; ; again = false {
		next, err := write(ctx, h, revision)
		if err == nil {
			c.mu.Lock()
			h.revision = next
			c.mu.Unlock()
			return nil
		}
		if !wrongSequence(err) {
			return err
		}
		e, lookErr := c.latest(ctx, g.Key)
		if lookErr != nil {
			return lookErr
		}
		if !again || e == nil || e.nonce != h.nonce || e.revision == revision {
			c.forget(g.Key, h)
			return fmt.Errorf("%w: %w", locks.ErrLost, err)
		}
		revision = e.revision
	}
}

// Renew implements locks.Client.
func (c *client) Renew(ctx context.Context, g locks.Grant) (time.Duration, error) {
	err := c.change(ctx, g, func(ctx context.Context, h *hold, revision uint64) (uint64, error) {
		return c.kv.Update(ctx, g.Key, []byte(h.nonce+" "+h.token.ID), revision)
	})
	if err != nil {
		return 0, fmt.Errorf("renew %s: %w", g.Key, err)
	}
	return c.lease, nil
}

// Release implements locks.Client.
func (c *client) Release(ctx context.Context, g locks.Grant) error {
	err := c.change(ctx, g, func(ctx context.Context, h *hold, revision uint64) (uint64, error) {
		err := c.kv.Delete(ctx, g.Key, jetstream.LastRevision(revision))
		if err == nil {
			c.forget(g.Key, h)
		}
		return revision, err
	})
	if err != nil {
		return fmt.Errorf("release %s: %w", g.Key, err)
	}
	return nil
}

// Observe implements locks.Observer. It asks the stream's leader: the library's Get may
// ask a copy that is behind. An entry of another application is named by its revision,
// which a renewal changes.
func (c *client) Observe(ctx context.Context, key string) (history.Holder, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	e, err := c.latest(ctx, key)
	if err != nil {
		return history.Holder{}, fmt.Errorf("observe %s: %w", key, err)
	}
	if e == nil {
		return history.Holder{}, nil
	}
	info, err := c.info(ctx)
	if err != nil {
		return history.Holder{}, fmt.Errorf("observe %s: %w", key, err)
	}
	left := max(c.lease-info.TimeStamp.Sub(e.created), 0)
	return history.Holder{Held: true, ID: e.id(), Lease: c.lease, Left: left}, nil
}

// entry is the latest value of a key.
type entry struct {
	nonce, token string
	revision     uint64
	created      time.Time
}

// id is the token of the grant.
func (e *entry) id() string {
	if e.token != "" {
		return e.token
	}
	return fmt.Sprint(e.revision)
}

// entryOf reads what an acquire (a nonce) or a renewal (and the token) has written.
func entryOf(value []byte, revision uint64, created time.Time) *entry {
	nonce, token, _ := strings.Cut(string(value), " ")
	return &entry{nonce: nonce, token: token, revision: revision, created: created}
}
