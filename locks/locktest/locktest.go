// Package locktest is the conformance suite of lock backends. It runs against a
// real server; every driver must pass it:
//
//	func TestMain(m *testing.M) {
//		if servers.Child() || locktest.Child(mybackend.Driver{}) {
//			return
//		}
//		os.Exit(m.Run())
//	}
//
//	func TestConformance(t *testing.T) {
//		locktest.Run(t, locktest.Subject{Driver: mybackend.Driver{}, Start: start})
//	}
//
// The checks return errors, so that the suite's own tests can show that each of
// them fails a driver that is broken.
package locktest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/locks"
)

// Server is the lock service under test.
type Server interface {
	Kill()
	Stop() error
	Resume() error
}

// Subject is a driver and how to get a service for it.
type Subject struct {
	Driver locks.Driver
	// Start starts a service of its own for one check. The target's Key is not used.
	Start func(tb testing.TB) (locks.Target, Server)
	// TTL is a short lease that the service grants; 1 s if not set.
	TTL time.Duration
}

// Check is one requirement.
type Check struct {
	Name string
	run  func(ctx context.Context, b *bench) error
}

// Checks lists the requirements.
func Checks() []Check {
	return []Check{
		{"held is definite", heldIsDefinite},
		{"a token identifies one grant", tokensUnique},
		{"granted TTL is reported and honoured", ttlHonoured},
		{"renew extends the lease", renewExtends},
		{"a foreign release is refused", foreignRelease},
		{"after expiry the hold is over", afterExpiry},
		{"loss is noticed or honestly not noticeable", lossNoticed},
		{"a waiter that gives up leaves nothing behind", waiterGivesUp},
		{"a waiter gets the lock when it is released", waiterGets},
		{"close does not release and may be repeated", closeTwice},
		{"a cancelled call returns soon", cancelPrompt},
		{"a server that dies in mid-acquire leaves it open", serverDies},
		{"an unreachable endpoint is an error", unreachable},
		{"an unknown option is refused", unknownOption},
		{"the deployment is described", inspected},
		{"mutual exclusion among processes", mutualExclusion},
	}
}

// checkLimit should fail only a check that hangs.
const checkLimit = 60 * time.Second

// Run runs all checks.
func Run(t *testing.T, s Subject) {
	for _, c := range Checks() {
		t.Run(c.Name, func(t *testing.T) {
			if err := c.Try(t, s); err != nil {
				t.Error(err)
			}
		})
	}
}

// Try runs one check against a service of its own.
func (c Check) Try(tb testing.TB, s Subject) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), checkLimit)
	defer cancel()
	target, server := s.Start(tb)
	b := &bench{driver: s.Driver, target: target, server: server, ttl: s.TTL}
	if b.ttl == 0 {
		b.ttl = time.Second
	}
	defer b.close()
	return c.run(ctx, b)
}

// bench is one check's place of work.
type bench struct {
	driver  locks.Driver
	target  locks.Target
	server  Server
	ttl     time.Duration
	keys    atomic.Int64
	clients []locks.Client
}

func (b *bench) key() string { return fmt.Sprintf("/locktest/%d", b.keys.Add(1)) }

func (b *bench) open(ctx context.Context) (locks.Client, error) {
	c, err := b.driver.Open(ctx, b.target)
	if err != nil {
		return nil, fmt.Errorf("open client: %w", err)
	}
	b.clients = append(b.clients, c)
	return c, nil
}

// pair opens two clients.
func (b *bench) pair(ctx context.Context) (x, y locks.Client, err error) {
	if x, err = b.open(ctx); err != nil {
		return nil, nil, err
	}
	y, err = b.open(ctx)
	return x, y, err
}

func (b *bench) close() {
	for _, c := range b.clients {
		_ = c.Close() // also after the server was killed; closeTwice looks at the error
	}
}

func can(c locks.Client, what locks.Capability) bool { return slices.Contains(c.Capabilities(), what) }

// want returns an error unless err is target.
func want(what string, err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return fmt.Errorf("%s: got %v, want %q", what, err, target)
}

// indefinite returns an error unless err says that the outcome is unknown.
func indefinite(what string, err error) error {
	switch {
	case err == nil:
		return fmt.Errorf("%s: succeeded", what)
	case errors.Is(err, locks.ErrHeld), errors.Is(err, locks.ErrLost), errors.Is(err, locks.ErrRefused):
		return fmt.Errorf("%s: %w claims to know the outcome", what, err)
	}
	return nil
}

// until polls for an observed state.
func until(ctx context.Context, what string, limit time.Duration, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		done, err := ok()
		if done {
			return nil
		}
		last = err
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %s (%w)", what, limit, errors.Join(ctx.Err(), last))
		}
	}
}

// clientVar makes a test binary a lock client.
const clientVar = "LOCKAUDIT_TEST_CLIENT"

// Child makes this process a lock client on stdin and stdout, with the drivers
// given, if a check has asked for one. It returns false at once otherwise.
func Child(drivers ...locks.Driver) bool {
	if os.Getenv(clientVar) == "" {
		return false
	}
	err := clients.Serve(context.Background(), os.Stdin, os.Stdout, clients.ServeOptions{Name: "locktest", Locks: drivers})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return true
}
