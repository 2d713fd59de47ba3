package agent

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/lockaudit/lockaudit/inject"
)

// Limits are what the owner of a node allows, whatever a plan says.
type Limits struct {
	// For is the longest that a fault may last.
	For time.Duration `json:"for"`
	// Faults is how many may be in effect at once.
	Faults int `json:"faults"`
}

// DefaultLimits are those of an agent that was told none.
func DefaultLimits() Limits { return Limits{For: time.Hour, Faults: 1024} }

// Tighten returns the stricter of both; 0 says nothing.
func (l Limits) Tighten(o Limits) Limits {
	if o.For > 0 {
		l.For = min(l.For, o.For)
	}
	if o.Faults > 0 {
		l.Faults = min(l.Faults, o.Faults)
	}
	return l
}

// The environment variables of the limits: the agent hands them to its guard.
const (
	envMaxFor    = "LOCKAUDIT_MAX_FOR"
	envMaxFaults = "LOCKAUDIT_MAX_FAULTS"
)

// LimitsFromEnv reads the limits that the environment sets.
func LimitsFromEnv() (Limits, error) {
	l := DefaultLimits()
	if v := os.Getenv(envMaxFor); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil || d <= 0 {
			return l, fmt.Errorf("%s=%s is not a duration, as 30s", envMaxFor, v)
		}
		l = l.Tighten(Limits{For: d})
	}
	if v := os.Getenv(envMaxFaults); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n <= 0 {
			return l, fmt.Errorf("%s=%s is not a number above 0", envMaxFaults, v)
		}
		l = l.Tighten(Limits{Faults: n})
	}
	return l, nil
}

func (l Limits) env() []string {
	return []string{envMaxFor + "=" + l.For.String(), envMaxFaults + "=" + strconv.Itoa(l.Faults)}
}

// permit refuses a fault that lasts too long.
func (l Limits) permit(s inject.Spec) error {
	if s.For > l.For {
		return fmt.Errorf("inject %s: this node allows no fault longer than %v (--max-for), not %v: %w", s.Kind, l.For, s.For, inject.ErrRefused)
	}
	return nil
}

// room refuses one more fault beside n.
func (l Limits) room(n int) error {
	if n >= l.Faults {
		return fmt.Errorf("inject: %d faults are in effect, this node allows no more at once (--max-faults): %w", n, inject.ErrRefused)
	}
	return nil
}
