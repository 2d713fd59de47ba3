package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-redsync/redsync/v4"
	pool "github.com/go-redsync/redsync/v4/redis"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
)

// Target is the plan's section lock, as init hands it over.
type Target struct {
	Endpoints []string        `json:"endpoints"`
	Username  string          `json:"username"`
	Password  string          `json:"password"`
	TLS       json.RawMessage `json:"tls"`
	Options   json.RawMessage `json:"options"`
}

// Lock is the library under audit: this is what you replace by your own.
type Lock struct {
	servers []*redis.Client
	sync    *redsync.Redsync

	mu   sync.Mutex
	held map[string]hold // what this client believes that it holds
}

type hold struct {
	*redsync.Mutex
	ttl time.Duration
}

// Open connects to all servers.
func Open(ctx context.Context, t Target) (*Lock, error) {
	if t.TLS != nil || t.Options != nil {
		return nil, refused("tls and options are not known to this client")
	}
	l := &Lock{held: map[string]hold{}}
	var pools []pool.Pool
	for _, endpoint := range t.Endpoints {
		server := redis.NewClient(&redis.Options{
			Addr: endpoint, Username: t.Username, Password: t.Password,
			MaxRetries: -1, // never send a command again whose outcome is unknown
			// redsync asks twice in a failed attempt.
			DialTimeout: 1500 * time.Millisecond, ReadTimeout: 1500 * time.Millisecond, ContextTimeoutEnabled: true,
		})
		if err := server.Ping(ctx).Err(); err != nil {
			return nil, fmt.Errorf("reach %s: %w", endpoint, err)
		}
		l.servers = append(l.servers, server)
		pools = append(pools, goredis.NewPool(server))
	}
	l.sync = redsync.New(pools...)
	return l, nil
}

// Acquire tries for up to wait. A try whose end is unknown is the last one.
func (l *Lock) Acquire(ctx context.Context, key string, ttl, wait time.Duration) (token string, err error) {
	for deadline := time.Now().Add(wait); ; {
		// redsync gives each server a twentieth of the lease by default; the sockets'
		// own timeouts are enough here.
		mutex := l.sync.NewMutex(key, redsync.WithExpiry(ttl), redsync.WithTimeoutFactor(1))
		// A cancel ends the waiting, not an attempt under way.
		err := mutex.TryLockContext(context.WithoutCancel(ctx))
		if err == nil {
			l.mu.Lock()
			l.held[key] = hold{mutex, ttl}
			l.mu.Unlock()
			return mutex.Value(), nil
		}
		var taken *redsync.ErrTaken
		if !errors.As(err, &taken) {
			return "", err
		}
		if time.Now().Before(deadline) {
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil || !time.Now().Before(deadline) {
			return "", Fail{"held", fmt.Sprintf("acquire %s: %v", key, taken)}
		}
	}
}

// mine is the hold that a token names, if it is this client's.
func (l *Lock) mine(key, token string, forget bool) (hold, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, ok := l.held[key]
	if !ok || token != "" && token != h.Value() {
		return h, Fail{"lost", key + " is not held here"}
	}
	if forget {
		delete(l.held, key)
	}
	return h, nil
}

// Renew makes the lease as long again as it was.
func (l *Lock) Renew(ctx context.Context, key, token string) (time.Duration, error) {
	h, err := l.mine(key, token, false)
	if err != nil {
		return 0, err
	}
	if _, err := h.ExtendContext(ctx); err != nil {
		if err = lost(err); errors.As(err, &Fail{}) {
			_, _ = l.mine(key, token, true)
		}
		return 0, err
	}
	return h.ttl, nil
}

// Release ends the belief whatever the answer is: whoever asks to release acts as the
// holder no more.
func (l *Lock) Release(ctx context.Context, key, token string) error {
	h, err := l.mine(key, token, true)
	if err != nil {
		return err
	}
	if _, err := h.UnlockContext(ctx); err != nil {
		return lost(err)
	}
	return nil
}

// lost tells a definite refusal from an unknown end.
func lost(err error) error {
	var taken *redsync.ErrTaken
	var unknown *redsync.RedisError
	if errors.As(err, &taken) || errors.Is(err, redsync.ErrLockAlreadyExpired) && !errors.As(err, &unknown) {
		return Fail{"lost", err.Error()}
	}
	return err
}

// Holding is what the client itself believes, without asking anybody.
func (l *Lock) Holding(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.held[key]
	return ok
}

// Holder is what the servers say.
type Holder struct {
	Held bool   `json:"held"`
	ID   string `json:"id,omitempty"`
	Left int64  `json:"left_ms,omitempty"`
}

// Observe finds the value that a majority of the servers have for the key.
func (l *Lock) Observe(ctx context.Context, key string) (Holder, error) {
	votes, left := map[string]int{}, map[string]int64{}
	for _, server := range l.servers {
		value, err := server.Get(ctx, key).Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return Holder{}, err
		}
		ttl, err := server.PTTL(ctx, key).Result()
		if err != nil {
			return Holder{}, err
		}
		if ttl == -2 { // it ended between the two questions
			continue
		}
		if votes[value]++; votes[value] == 1 || ttl.Milliseconds() < left[value] {
			left[value] = max(0, ttl.Milliseconds())
		}
	}
	for value, n := range votes {
		if n > len(l.servers)/2 {
			return Holder{Held: true, ID: value, Left: left[value]}, nil
		}
	}
	return Holder{}, nil
}
