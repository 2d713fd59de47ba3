package redis

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/redis/go-redis/v9"

	"github.com/lockaudit/lockaudit/locks"
)

// NewClient is a client of the target's one server, which is not contacted yet. It never
// repeats a command, heeds the deadline of a context, and names the permission that a
// refusal was about. Package redlock makes one for each of its servers.
func NewClient(t locks.Target) (*redis.Client, error) {
	config, err := configure(t)
	if err != nil {
		return nil, err
	}
	rdb := redis.NewClient(config)
	rdb.AddHook(denials{})
	return rdb, nil
}

// Reach makes sure that the server answers, within seconds. Its error says why it does
// not, where that can be found out.
func Reach(ctx context.Context, rdb *redis.Client) error {
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	_, err := Call(ctx, func() (string, error) { return rdb.Ping(ctx).Result() })
	if err == nil {
		return nil
	}
	if _, _, named := net.SplitHostPort(rdb.Options().Addr); named != nil {
		return err // by way of Sentinels: there is no one address to ask
	}
	if why := reason(ctx, rdb.Options(), err); why != nil {
		return fmt.Errorf("%w: %w", err, why)
	}
	return err
}

// Call runs one command and returns when ctx ends, whichever is first: the
// library's reads heed a deadline but not a cancellation. A command that is left
// behind ends with answerLimit; its outcome is unknown.
//
// An error that the server itself answered is definite: the command was refused.
func Call[T any](ctx context.Context, command func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := command()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		var answered redis.Error
		if errors.As(r.err, &answered) && !errors.Is(r.err, redis.Nil) {
			r.err = fmt.Errorf("%w: %w", locks.ErrRefused, r.err)
		}
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}
