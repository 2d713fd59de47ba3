package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
)

// lock is a redsync mutex in one Redis.
type lock struct {
	config
	sync  *redsync.Redsync
	books *books
}

// hold is one grant of it.
type hold struct {
	*redsync.Mutex
	token int64
}

var errTaken = errors.New("lock is taken")

func newLock(c config, b *books) *lock {
	client := redis.NewClient(&redis.Options{Addr: c.redis, MaxRetries: -1, DialTimeout: time.Second, ReadTimeout: time.Second})
	return &lock{config: c, sync: redsync.New(goredis.NewPool(client)), books: b}
}

// acquire tries once. The value says who holds the lock, for people who look into Redis,
// and carries a number of the database's sequence.
//
// The number is drawn before the lock is taken: one that was drawn afterwards would be
// newer than that of a holder who came meanwhile.
func (l *lock) acquire(ctx context.Context) (hold, error) {
	token, err := l.books.nextToken(ctx)
	if err != nil {
		return hold{}, err
	}
	mutex := l.sync.NewMutex(l.key, redsync.WithExpiry(l.ttl), redsync.WithTimeoutFactor(0.5),
		redsync.WithGenValueFunc(func() (string, error) {
			return fmt.Sprintf("%s/%d/%d", l.instance, os.Getpid(), token), nil
		}))
	err = mutex.TryLockContext(ctx)
	var taken *redsync.ErrTaken
	if errors.As(err, &taken) {
		return hold{}, errTaken
	}
	return hold{mutex, token}, err
}

func (h hold) release(ctx context.Context) error {
	_, err := h.UnlockContext(ctx)
	return err
}
