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
	"github.com/lockaudit/lockaudit/conformance"
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
	// Reserve is the share of a lease that the client does not rely on, because clocks
	// may differ (Redlock): its grants are shorter by that much than what was asked for.
	Reserve float64
}

// Check is one requirement.
type Check = conformance.Check[Subject]

// Checks lists the requirements.
func Checks() []Check {
	return []Check{
		check("held is definite", heldIsDefinite),
		check("a token identifies one grant", tokensUnique),
		check("granted TTL is reported and honoured", ttlHonoured),
		check("renew extends the lease", renewExtends),
		check("a foreign release is refused", foreignRelease),
		check("after expiry the hold is over", afterExpiry),
		check("loss is noticed or honestly not noticeable", lossNoticed),
		check("a waiter that gives up leaves nothing behind", waiterGivesUp),
		check("a waiter gets the lock when it is released", waiterGets),
		check("close does not release and may be repeated", closeTwice),
		check("a cancelled call returns soon", cancelPrompt),
		check("a server that dies in mid-acquire leaves it open", serverDies),
		check("an unreachable endpoint is an error", unreachable),
		check("an unknown option is refused", unknownOption),
		check("the deployment is described", inspected),
		check("mutual exclusion among processes", mutualExclusion),
	}
}

// Run runs all checks.
func Run(t *testing.T, s Subject) { conformance.Run(t, s, Checks()) }

// check is a requirement at a place of work of its own.
func check(name string, run func(ctx context.Context, b *bench) error) Check {
	return Check{Name: name, Run: func(ctx context.Context, tb testing.TB, s Subject) error {
		target, server := s.Start(tb)
		b := &bench{driver: s.Driver, target: target, server: server, ttl: s.TTL}
		if b.ttl == 0 {
			b.ttl = time.Second
		}
		b.least = b.ttl - time.Duration(s.Reserve*float64(b.ttl))
		defer b.close()
		return run(ctx, b)
	}}
}

// bench is one check's place of work.
type bench struct {
	driver  locks.Driver
	target  locks.Target
	server  Server
	ttl     time.Duration
	least   time.Duration // that must be granted when ttl is asked for
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
