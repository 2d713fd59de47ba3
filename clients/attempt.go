package clients

import (
	"errors"
	"time"

	"github.com/lockaudit/lockaudit/locks"
)

// Attempt is how one acquire ended, for whoever counts or logs them.
type Attempt struct {
	Key string
	// Outcome is acquired, held, refused or unknown.
	Outcome string
	Took    time.Duration
	Err     error
}

// Outcomes of an attempt.
const (
	Acquired    = "acquired"
	HeldByOther = "held"
	Refused     = "refused"
	Unknown     = "unknown"
)

func attempt(key string, took time.Duration, err error) Attempt {
	a := Attempt{Key: key, Outcome: Unknown, Took: took, Err: err}
	switch {
	case err == nil:
		a.Outcome = Acquired
	case errors.Is(err, locks.ErrHeld):
		a.Outcome = HeldByOther
	case errors.Is(err, locks.ErrRefused):
		a.Outcome = Refused
	}
	return a
}
