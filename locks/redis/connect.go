package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/strict"
)

const (
	// reachLimit is how long a server may take to accept a connection or, when
	// the client is opened, to answer.
	reachLimit = 3 * time.Second
	// answerLimit bounds a command whose context has no deadline.
	answerLimit = 10 * time.Second
)

// options of the backend in the plan.
type options struct {
	// FencingCounter is the key of a counter from which every grant takes its
	// token, or true for "<lock key>:fencing".
	FencingCounter any `json:"fencing_counter"`
	// Sentinel is the name of the master, as the Sentinels know it. The endpoints are
	// the Sentinels then, and the lock is wherever they say that the master is.
	Sentinel string `json:"sentinel"`
	// SentinelUsername and SentinelPassword are for the Sentinels themselves, which have
	// users of their own.
	SentinelUsername string `json:"sentinel_username"`
	SentinelPassword string `json:"sentinel_password"`
}

func optionsOf(t locks.Target) (o options, err error) {
	return o, strict.Options(t.Options, &o, locks.ErrRefused)
}

// counterName returns how the counter of a lock key is called; nil: no counter.
func (o options) counterName() (func(key string) string, error) {
	switch v := o.FencingCounter.(type) {
	case nil:
		return nil, nil
	case bool:
		if !v {
			return nil, nil
		}
		return func(key string) string { return key + ":fencing" }, nil
	case string:
		if v != "" {
			return func(string) string { return v }, nil
		}
	}
	return nil, fmt.Errorf("decode options: fencing_counter is neither true nor the name of a key: %w", locks.ErrRefused)
}

// connect opens a client and makes sure that the server answers.
func connect(ctx context.Context, t locks.Target, o options) (*redis.Client, error) {
	rdb, err := newClient(t, o)
	if err != nil {
		return nil, err
	}
	if err := Reach(ctx, rdb); err != nil {
		var answered redis.Error
		if o.Sentinel != "" && !errors.As(err, &answered) {
			unknown := known(t, o)
			if unknown == nil {
				return rdb, nil // in the middle of a failover: the master is gone, the service is not
			}
			err = fmt.Errorf("%w: %w", err, unknown)
		}
		return nil, errors.Join(fmt.Errorf("connect to redis: reach %s: %w", strings.Join(t.Endpoints, ", "), err), rdb.Close())
	}
	return rdb, nil
}

func newClient(t locks.Target, o options) (*redis.Client, error) {
	if o.Sentinel == "" {
		return NewClient(t)
	}
	config, err := failover(t, o)
	if err != nil {
		return nil, err
	}
	rdb := redis.NewFailoverClient(config)
	rdb.AddHook(denials{})
	return rdb, nil
}

func configure(t locks.Target) (*redis.Options, error) {
	if len(t.Endpoints) != 1 {
		return nil, fmt.Errorf("connect to redis: %d endpoints, want one: %w", len(t.Endpoints), locks.ErrRefused)
	}
	addr := strings.TrimPrefix(t.Endpoints[0], "redis://")
	addr, secure := strings.CutPrefix(addr, "rediss://")
	if host, port, err := net.SplitHostPort(addr); err != nil || host == "" || port == "" {
		return nil, fmt.Errorf("connect to redis: endpoint %q is not host:port: %w", t.Endpoints[0], locks.ErrRefused)
	}
	config := &redis.Options{
		Addr: addr, Username: t.Username, Password: t.Password,
		// A repeated attempt would make the outcome of the first one unknowable.
		MaxRetries:            -1,
		ContextTimeoutEnabled: true,
		DialTimeout:           reachLimit,
		DialerRetries:         1,
		ReadTimeout:           answerLimit,
		WriteTimeout:          answerLimit,
		DisableIdentity:       true,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	}
	if t.TLS != nil || secure {
		tls := t.TLS
		if tls == nil {
			tls = &locks.TLS{}
		}
		var err error
		if config.TLSConfig, err = tls.Config(); err != nil {
			return nil, fmt.Errorf("connect to redis: %w", err)
		}
	}
	return config, nil
}
