package redis

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/lockaudit/lockaudit/locks"
)

// failover is how to reach the master by way of the Sentinels. The library asks them
// with each new connection, and hears of a failover from them.
func failover(t locks.Target, o options) (*redis.FailoverOptions, error) {
	if len(t.Endpoints) == 0 {
		return nil, fmt.Errorf("connect to redis: no Sentinel: %w", locks.ErrRefused)
	}
	f := &redis.FailoverOptions{
		MasterName: o.Sentinel, SentinelUsername: o.SentinelUsername, SentinelPassword: o.SentinelPassword,
		Username: t.Username, Password: t.Password,
		// As for one server, see configure.
		MaxRetries: -1, ContextTimeoutEnabled: true, DialTimeout: reachLimit, DialerRetries: 1,
		ReadTimeout: answerLimit, WriteTimeout: answerLimit, DisableIdentity: true,
	}
	for _, e := range t.Endpoints {
		one, err := configure(single(t, e))
		if err != nil {
			return nil, err
		}
		f.SentinelAddrs = append(f.SentinelAddrs, one.Addr)
		f.TLSConfig = one.TLSConfig
	}
	return f, nil
}

// known asks whether a Sentinel that answers knows the master; the error says why not.
func known(t locks.Target, o options) error {
	var failed error
	for _, e := range t.Endpoints {
		ctx, cancel := context.WithTimeout(context.Background(), reachLimit/3)
		s, err := sentinelAt(t, o, e)
		if err == nil {
			_, err = Call(ctx, func() ([]string, error) { return s.GetMasterAddrByName(ctx, o.Sentinel).Result() })
			_ = s.Close()
		}
		cancel()
		if err == nil {
			return nil
		}
		failed = errors.Join(failed, fmt.Errorf("ask Sentinel %s: %w", e, err))
	}
	return failed
}

// sentinelAt is a client of one Sentinel. What its user may not do is named.
func sentinelAt(t locks.Target, o options, endpoint string) (*redis.SentinelClient, error) {
	config, err := configure(single(t, endpoint))
	if err != nil {
		return nil, err
	}
	config.Username, config.Password = o.SentinelUsername, o.SentinelPassword
	c := redis.NewSentinelClient(config)
	c.AddHook(denials{})
	return c, nil
}

// single is the target with one endpoint.
func single(t locks.Target, endpoint string) locks.Target {
	t.Endpoints = []string{endpoint}
	return t
}
