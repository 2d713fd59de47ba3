package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockaudit/lockaudit/history"
)

// Observe implements locks.Observer. Value and rest of the lease are read in one
// transaction: they belong to one hold.
func (c *client) Observe(ctx context.Context, key string) (history.Holder, error) {
	var value *redis.StringCmd
	left, err := c.withRest(ctx, key, func(p redis.Pipeliner) { value = p.Get(ctx, key) })
	switch {
	case redis.HasErrorPrefix(err, "WRONGTYPE"):
		return c.observeHash(ctx, key)
	case errors.Is(err, redis.Nil):
		return history.Holder{}, nil
	case err != nil:
		return history.Holder{}, fmt.Errorf("observe %s: %w", key, c.why(ctx, key, err))
	}
	return history.Holder{Held: true, ID: value.Val(), Owner: value.Val(), Left: max(left, 0)}, nil
}

// observeHash reads a lock as Redisson writes it, which an application's own may be: a
// hash whose one field is the holder.
func (c *client) observeHash(ctx context.Context, key string) (history.Holder, error) {
	var fields *redis.ScanCmd
	left, err := c.withRest(ctx, key, func(p redis.Pipeliner) { fields = p.HScan(ctx, key, 0, "", 2) })
	if err != nil {
		return history.Holder{}, fmt.Errorf("observe %s: %w", key, err)
	}
	pairs, _ := fields.Val()
	switch len(pairs) {
	case 0:
		return history.Holder{}, nil
	case 2:
		return history.Holder{Held: true, ID: pairs[0], Owner: pairs[0], Left: max(left, 0)}, nil
	}
	return history.Holder{}, fmt.Errorf("observe %s: a hash of several fields is no lock that is known here", key)
}

// withRest reads something and the rest of the key's lease at one moment.
func (c *client) withRest(ctx context.Context, key string, read func(redis.Pipeliner)) (time.Duration, error) {
	var left *redis.DurationCmd
	_, err := Call(ctx, func() (struct{}, error) {
		_, err := c.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
			read(p)
			left = p.PTTL(ctx, key)
			return nil
		})
		return struct{}{}, err
	})
	if err != nil {
		return 0, err
	}
	return left.Val(), nil
}

// why asks again, one by one, for what a transaction was refused: its own error does
// not say which permission is missing.
func (c *client) why(ctx context.Context, key string, err error) error {
	if !redis.HasErrorPrefix(err, "EXECABORT") {
		return err
	}
	if _, single := Call(ctx, func() (string, error) { return c.rdb.Get(ctx, key).Result() }); single != nil && !errors.Is(single, redis.Nil) {
		return single
	}
	if _, single := Call(ctx, func() (time.Duration, error) { return c.rdb.PTTL(ctx, key).Result() }); single != nil {
		return single
	}
	return err
}
