// Package conformance runs the requirements of a suite: each against a service of its
// own, one test each. A check returns its error, so that a suite's own tests can show
// that each of them fails a subject that is broken.
package conformance

import (
	"context"
	"testing"
	"time"
)

// Check is one requirement on subjects of a kind.
type Check[Subject any] struct {
	Name string
	// Run carries it out; what it started has ended when it returns, or ends with tb.
	Run func(ctx context.Context, tb testing.TB, s Subject) error
}

// limit should fail only a check that hangs.
const limit = 5 * time.Minute

// Try runs one check.
func (c Check[Subject]) Try(tb testing.TB, s Subject) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return c.Run(ctx, tb, s)
}

// Run runs all checks.
func Run[Subject any](t *testing.T, s Subject, checks []Check[Subject]) {
	for _, c := range checks {
		t.Run(c.Name, func(t *testing.T) {
			if err := c.Try(t, s); err != nil {
				t.Error(err)
			}
		})
	}
}
