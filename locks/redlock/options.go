package redlock

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/strict"
)

// What the library does where nothing else is said.
const (
	driftFactor   = 0.01
	timeoutFactor = 0.05 // of the lease, for each server's answer
)

// options of the backend in the plan, each with the library's name for it.
type options struct {
	// DriftFactor is the share of the lease that the client leaves unused, because the
	// servers' clocks may run faster than its own (WithDriftFactor). Default 0.01.
	DriftFactor *float64 `json:"drift_factor"`
	// NodeTimeout is how long each server has to answer (WithTimeoutFactor, which is the
	// same as a share of the lease). Default 0.05 of the lease.
	NodeTimeout duration `json:"node_timeout"`
	// Tries is how often an acquire that may wait tries at most (WithTries). Default: as
	// often as the wait allows.
	Tries int `json:"tries"`
	// FailFast has a call return as soon as a majority has answered (WithFailFast).
	FailFast bool `json:"fail_fast"`
	// LocalExpiry is an application that heeds Until: its hold ends by its own clock.
	LocalExpiry bool `json:"local_expiry"`
}

// duration is written as in the rest of the plan.
type duration time.Duration

func (d *duration) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return fmt.Errorf("%s is no duration, which is written as 50ms", b)
	}
	v, err := time.ParseDuration(text)
	if err == nil && v <= 0 {
		err = fmt.Errorf("%q is not above zero", text)
	}
	*d = duration(v)
	return err
}

func optionsOf(t locks.Target) (o options, err error) {
	if err := strict.Options(t.Options, &o, locks.ErrRefused); err != nil {
		return o, err
	}
	switch {
	case o.DriftFactor != nil && (*o.DriftFactor < 0 || *o.DriftFactor >= 1):
		return o, fmt.Errorf("decode options: drift_factor %g is no share of a lease: %w", *o.DriftFactor, locks.ErrRefused)
	case o.Tries < 0:
		return o, fmt.Errorf("decode options: tries is %d: %w", o.Tries, locks.ErrRefused)
	}
	return o, nil
}

func (o options) drift() float64 {
	if o.DriftFactor != nil {
		return *o.DriftFactor
	}
	return driftFactor
}

// nodeTimeout is how long a server has to answer, with a lease of ttl.
func (o options) nodeTimeout(ttl time.Duration) time.Duration {
	if o.NodeTimeout > 0 {
		return time.Duration(o.NodeTimeout)
	}
	return time.Duration(float64(ttl) * timeoutFactor)
}

// validity is how long after it was asked for a lease of ttl may be relied on. The
// library counts the time that the servers took as well: from the question on.
func (o options) validity(ttl time.Duration) time.Duration {
	return ttl - time.Duration(float64(ttl)*o.drift())
}
