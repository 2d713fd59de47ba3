package redlock

import (
	"errors"
	"fmt"

	"github.com/go-redsync/redsync/v4"
	goredis "github.com/redis/go-redis/v9"

	"github.com/lockaudit/lockaudit/locks"
)

// majority of the servers that the plan names, dead or alive.
func (c *client) majority() int { return len(c.servers)/2 + 1 }

// ballot is how the servers answered, as the library's error has it.
type ballot struct {
	against map[int]bool // another value is there, or none
	refused map[int]bool // the server answered with an error: no permission, read only
}

// count reads the tree of errors that the library joins.
func (b *ballot) count(err error) {
	if taken, ok := err.(*redsync.ErrTaken); ok {
		for _, node := range taken.Nodes {
			b.against[node] = true
		}
		return
	}
	if taken, ok := err.(*redsync.ErrNodeTaken); ok {
		b.against[taken.Node] = true
		return
	}
	if failed, ok := err.(*redsync.RedisError); ok {
		var answered goredis.Error
		if errors.As(failed.Err, &answered) {
			b.refused[failed.Node] = true
		}
		return
	}
	switch wrapped := err.(type) {
	case interface{ Unwrap() []error }:
		for _, one := range wrapped.Unwrap() {
			b.count(one)
		}
	case interface{ Unwrap() error }:
		b.count(wrapped.Unwrap())
	}
}

// verdict says what the end of a call means. It is definite only where so many servers
// answered no that the others cannot make a majority, whatever became of the question
// that was put to them; no is then the word for it.
func (c *client) verdict(err, no error) error {
	b := ballot{against: map[int]bool{}, refused: map[int]bool{}}
	b.count(err)
	// A server that a release finds without the key says so with an error of its own,
	// which does not name it: each counts once.
	gone := expired(err)
	against := len(b.against) + gone
	switch {
	case len(c.servers)-against-len(b.refused) >= c.majority():
		return err // open: a majority may have it
	case against > 0 && against >= len(b.refused):
		return fmt.Errorf("%w: %w", no, err)
	}
	return fmt.Errorf("%w: %w", locks.ErrRefused, err)
}

// expired counts the servers on which a release found nothing.
func expired(err error) int {
	n := 0
	switch wrapped := err.(type) {
	case interface{ Unwrap() []error }:
		for _, one := range wrapped.Unwrap() {
			n += expired(one)
		}
	case interface{ Unwrap() error }:
		n += expired(wrapped.Unwrap())
	default:
		if errors.Is(err, redsync.ErrLockAlreadyExpired) {
			n++
		}
	}
	return n
}

func isDefinite(err error) bool {
	return errors.Is(err, locks.ErrLost) || errors.Is(err, locks.ErrRefused)
}
