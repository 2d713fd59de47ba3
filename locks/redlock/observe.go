package redlock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks/redis"
)

// observeLimit is how long one server may take to say what it has.
const observeLimit = time.Second

// vote is what one server has under the key.
type vote struct {
	value string // empty: nothing
	left  time.Duration
	err   error
}

// Observe implements locks.Observer: the holder is whose value a majority has. Where the
// silent servers could make one, nobody can say.
func (c *client) Observe(ctx context.Context, key string) (history.Holder, error) {
	left, silent, errs := map[string][]time.Duration{}, 0, []error(nil)
	for _, v := range c.poll(ctx, key) {
		switch {
		case v.err != nil:
			silent++
			errs = append(errs, v.err)
		case v.value != "":
			left[v.value] = append(left[v.value], v.left)
		}
	}
	most := 0
	for value, rest := range left {
		most = max(most, len(rest))
		if len(rest) < c.majority() {
			continue
		}
		// The lease is over when fewer than a majority have it.
		slices.SortFunc(rest, func(x, y time.Duration) int { return int(y - x) })
		return history.Holder{Held: true, ID: value, Owner: value, Left: rest[c.majority()-1]}, nil
	}
	if most+silent >= c.majority() {
		return history.Holder{}, fmt.Errorf("observe %s: %d of %d servers do not answer: %w", key, silent, len(c.servers), errors.Join(errs...))
	}
	return history.Holder{}, nil
}

// poll asks all servers at once.
func (c *client) poll(ctx context.Context, key string) []vote {
	ctx, cancel := context.WithTimeout(ctx, observeLimit)
	defer cancel()
	answers := make(chan vote, len(c.servers))
	for _, rdb := range c.servers {
		go func() { answers <- ask(ctx, rdb, key) }()
	}
	votes := make([]vote, len(c.servers))
	for i := range votes {
		votes[i] = <-answers
	}
	return votes
}

// ask reads value and rest of the lease in one transaction: they belong to one hold.
func ask(ctx context.Context, rdb *goredis.Client, key string) vote {
	var value *goredis.StringCmd
	var left *goredis.DurationCmd
	_, err := redis.Call(ctx, func() (struct{}, error) {
		_, err := rdb.TxPipelined(ctx, func(p goredis.Pipeliner) error {
			value, left = p.Get(ctx, key), p.PTTL(ctx, key)
			return nil
		})
		return struct{}{}, err
	})
	switch {
	case errors.Is(err, goredis.Nil):
		return vote{}
	case err != nil:
		return vote{err: fmt.Errorf("%s: %w", rdb.Options().Addr, err)}
	}
	return vote{value: value.Val(), left: max(left.Val(), 0)}
}
