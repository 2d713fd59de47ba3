package locks

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Between two attempts of an acquire that waits: redlock's usual 200 ms would
// hide a lock that is free for a moment, so a little less, with jitter against
// clients in step.
const (
	retryLeast  = 20 * time.Millisecond
	retryJitter = 30 * time.Millisecond
)

// Retry is how a client waits for a lock of a service that has no queue: it repeats
// the attempt for up to wait, as long as it says ErrHeld.
func Retry(ctx context.Context, wait time.Duration, attempt func() error) error {
	deadline := time.Now().Add(wait)
	for {
		err := attempt()
		pause := retryLeast + rand.N(retryJitter)
		if !errors.Is(err, ErrHeld) || time.Now().Add(pause).After(deadline) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			// The latest attempt was definite, and there is no other.
			return fmt.Errorf("%w: %w", ErrHeld, ctx.Err())
		}
	}
}
