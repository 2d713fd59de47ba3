package clients

import (
	"context"
	"fmt"
	"testing"

	"github.com/lockaudit/lockaudit/locks"
)

func TestOutcomesOfAttempts(t *testing.T) {
	for want, err := range map[string]error{
		Acquired:    nil,
		HeldByOther: fmt.Errorf("acquire k: %w", locks.ErrHeld),
		Refused:     fmt.Errorf("acquire k: %w", locks.ErrRefused),
		Unknown:     context.DeadlineExceeded, // it may have happened
	} {
		if got := attempt("k", 1, err); got.Outcome != want || got.Key != "k" {
			t.Errorf("%v: %+v, want %s", err, got, want)
		}
	}
}
