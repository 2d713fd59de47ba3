// Package redis keeps rows in Redis and refuses stale fencing tokens in a Lua
// script, which Redis runs as one step: check and write cannot be separated.
package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/lockaudit/lockaudit/resources"
	"github.com/lockaudit/lockaudit/strict"
)

// Kind is the redis resource.
type Kind struct{}

// Name implements resources.Kind.
func (Kind) Name() string { return "redis" }

// options of the kind in the plan.
type options struct {
	// Prefix of the keys of marks and rows; "lockaudit-resource:" if not set.
	Prefix string `json:"prefix"`
}

const (
	reachLimit  = 3 * time.Second  // to accept a connection, and for the first answer
	answerLimit = 10 * time.Second // for a command whose context has no deadline
)

// Open implements resources.Kind.
func (Kind) Open(ctx context.Context, t resources.Target) (resources.Resource, error) {
	o := options{Prefix: "lockaudit-resource:"}
	if err := strict.Options(t.Options, &o, resources.ErrRefused); err != nil {
		return nil, err
	}
	if len(t.Endpoints) != 1 {
		return nil, fmt.Errorf("open redis resource: %d endpoints, want one: %w", len(t.Endpoints), resources.ErrRefused)
	}
	r := &resource{prefix: o.Prefix, rdb: redis.NewClient(&redis.Options{
		Addr: strings.TrimPrefix(t.Endpoints[0], "redis://"), Username: t.Username, Password: t.Password,
		MaxRetries:               -1, // a repeated write may be a second one
		ContextTimeoutEnabled:    true,
		DialTimeout:              reachLimit,
		DialerRetries:            1,
		ReadTimeout:              answerLimit,
		WriteTimeout:             answerLimit,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})}
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	if _, err := call(ctx, func() (string, error) { return r.rdb.Ping(ctx).Result() }); err != nil {
		return nil, errors.Join(fmt.Errorf("open redis resource: reach %s: %w", t.Endpoints[0], err), r.Close())
	}
	return r, nil
}

type resource struct {
	rdb    *redis.Client
	prefix string
	close  sync.Once
}

// write compares tokens as text, by length and then by digits: Lua's numbers lose
// precision above 2^53. The caller has removed leading zeros.
var write = redis.NewScript(`
local mark = redis.call('GET', KEYS[1])
local token = ARGV[1]
if mark and (#token < #mark or (#token == #mark and token < mark)) then
  return {'stale', mark}
end
redis.call('SET', KEYS[1], token)
redis.call('HSET', KEYS[2], 'value', ARGV[2], 'token', ARGV[3], 'op_id', ARGV[4])
return {'ok', tostring(redis.call('HINCRBY', KEYS[2], 'seq', 1))}`)

// Write implements resources.Resource.
func (r *resource) Write(ctx context.Context, e resources.Entry) (uint64, error) {
	token, err := resources.Number(e.Wire())
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", e.Row, err)
	}
	keys := []string{r.prefix + "mark:" + resources.Scope(e.Row), r.prefix + "row:" + e.Row}
	answer, err := call(ctx, func() ([]string, error) {
		return write.Eval(ctx, r.rdb, keys, token, e.Value, e.Wire(), e.OpID).StringSlice()
	})
	switch {
	case err != nil:
		return 0, fmt.Errorf("write %s: %w", e.Row, err)
	case len(answer) != 2:
		return 0, fmt.Errorf("write %s: script answered %q", e.Row, answer)
	case answer[0] == "stale":
		return 0, fmt.Errorf("write %s: %w: token %s is below %s", e.Row, resources.ErrStale, token, answer[1])
	}
	seq, err := strconv.ParseUint(answer[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("write %s: accepted, but its seq is unreadable: %w", e.Row, err)
	}
	return seq, nil
}

// Read implements resources.Resource.
func (r *resource) Read(ctx context.Context, row string) (resources.Value, error) {
	fields, err := call(ctx, func() (map[string]string, error) { return r.rdb.HGetAll(ctx, r.prefix+"row:"+row).Result() })
	if err != nil {
		return resources.Value{}, fmt.Errorf("read %s: %w", row, err)
	}
	if len(fields) == 0 {
		return resources.Value{}, nil
	}
	seq, err := strconv.ParseUint(fields["seq"], 10, 64)
	if err != nil {
		return resources.Value{}, fmt.Errorf("read %s: decode seq: %w", row, err)
	}
	return resources.Value{Value: fields["value"], Token: fields["token"], Seq: seq}, nil
}

// Close implements resources.Resource.
func (r *resource) Close() error {
	var err error
	r.close.Do(func() { err = r.rdb.Close() })
	return err
}

// call returns when ctx ends, whichever is first: the library's reads heed a
// deadline but not a cancellation. A command left behind has an unknown outcome.
// So has a script that the server answered with an error: it may have failed
// after its first change.
func call[T any](ctx context.Context, command func() (T, error)) (T, error) {
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
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}
