// Package resourcetest is the conformance suite of protected resources that
// enforce ordered fencing tokens. It runs against a real server. The checks
// return errors, so that the suite's own tests can show that each of them fails a
// resource that is broken.
package resourcetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/conformance"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/resources"
)

// Server is the service behind the resource.
type Server interface {
	Kill()
	Stop() error
	Resume() error
}

// Subject is a kind and how to get a service for it.
type Subject struct {
	Kind  resources.Kind
	Start func(tb testing.TB) (resources.Target, Server)
}

// Check is one requirement.
type Check = conformance.Check[Subject]

// Checks lists the requirements.
func Checks() []Check {
	return []Check{
		check("a row never written is empty", neverWritten),
		check("newest and equal tokens are accepted", accepts),
		check("a stale token is refused without effect", refusesStale),
		check("missing and malformed tokens are refused without effect", refusesMalformed),
		check("rows of a scope share one mark", scopeShared),
		check("large numbers are compared exactly", largeNumbers),
		check("the mark outlives the client", reopened),
		check("concurrent writes never leave old after new", concurrent),
		check("a server that dies in mid-write leaves it open", serverDies),
		check("close may be repeated", closeTwice),
	}
}

// Run runs all checks.
func Run(t *testing.T, s Subject) { conformance.Run(t, s, Checks()) }

// check is a requirement at a place of work of its own.
func check(name string, run func(ctx context.Context, b *bench) error) Check {
	return Check{Name: name, Run: func(ctx context.Context, tb testing.TB, s Subject) error {
		target, server := s.Start(tb)
		b := &bench{kind: s.Kind, target: target, server: server}
		r, err := b.open(ctx)
		if err != nil {
			return err
		}
		b.Resource = r
		defer b.close()
		return run(ctx, b)
	}}
}

type bench struct {
	resources.Resource
	kind   resources.Kind
	target resources.Target
	server Server
	opened []resources.Resource
}

func (b *bench) open(ctx context.Context) (resources.Resource, error) {
	r, err := b.kind.Open(ctx, b.target)
	if err != nil {
		return nil, fmt.Errorf("open resource: %w", err)
	}
	b.opened = append(b.opened, r)
	return r, nil
}

func (b *bench) close() {
	for _, r := range b.opened {
		_ = r.Close()
	}
}

func entry(row string, token int64, value string) resources.Entry {
	return resources.Entry{Row: row, Token: history.OrderedToken(token), Value: value, OpID: row + value}
}

// accept writes and fails unless the write is accepted.
func (b *bench) accept(ctx context.Context, e resources.Entry) error {
	if _, err := b.Write(ctx, e); err != nil {
		return fmt.Errorf("token %s must be accepted: %w", e.Wire(), err)
	}
	return nil
}

// refuse writes and fails unless it is refused as it should be, and the row stands.
func (b *bench) refuse(ctx context.Context, e resources.Entry, as error) error {
	before, err := b.Read(ctx, e.Row)
	if err != nil {
		return err
	}
	if _, err := b.Write(ctx, e); !errors.Is(err, as) {
		return fmt.Errorf("token %q: got %v, want %q", e.Wire(), err, as)
	}
	after, err := b.Read(ctx, e.Row)
	if err != nil {
		return err
	}
	if before != after {
		return fmt.Errorf("a refused write changed the row from %+v to %+v", before, after)
	}
	return nil
}

func neverWritten(ctx context.Context, b *bench) error {
	v, err := b.Read(ctx, "empty/row")
	if err != nil || v != (resources.Value{}) {
		return fmt.Errorf("read of a row never written: %+v, %v", v, err)
	}
	return nil
}

func accepts(ctx context.Context, b *bench) error {
	for i, token := range []int64{5, 5, 6, 1000, 1000} {
		value := fmt.Sprint("v", i)
		seq, err := b.Write(ctx, entry("s/row", token, value))
		if err != nil {
			return fmt.Errorf("write %d with token %d: %w", i+1, token, err)
		}
		if seq != 0 && seq != uint64(i+1) {
			return fmt.Errorf("write %d has seq %d", i+1, seq)
		}
		v, err := b.Read(ctx, "s/row")
		if err != nil || v.Value != value || v.Seq != seq || (v.Token != "" && v.Token != fmt.Sprint(token)) {
			return fmt.Errorf("read after write %d: %+v, %v", i+1, v, err)
		}
	}
	return nil
}

func refusesStale(ctx context.Context, b *bench) error {
	return errors.Join(
		b.accept(ctx, entry("s/row", 10, "old holder")),
		b.accept(ctx, entry("s/row", 11, "new holder")),
		b.refuse(ctx, entry("s/row", 10, "stale"), resources.ErrStale),
		b.refuse(ctx, entry("s/row", 9, "staler"), resources.ErrStale),
		b.accept(ctx, entry("s/row", 11, "still good")),
	)
}

func refusesMalformed(ctx context.Context, b *bench) error {
	if err := b.accept(ctx, entry("s/row", 10, "good")); err != nil {
		return err
	}
	missing := resources.Entry{Row: "s/row", Value: "bad"}
	errs := []error{b.refuse(ctx, missing, resources.ErrRefused)}
	for _, raw := range []string{"eleven", "-11", "11.5", "0x11", "1e9", "11;12", "99999999999999999999999999999999999999999999999999999999999999999"} {
		bad := missing
		bad.RawToken = raw
		errs = append(errs, b.refuse(ctx, bad, resources.ErrRefused))
	}
	// None of them has become the mark.
	return errors.Join(append(errs, b.accept(ctx, entry("s/row", 10, "good again")))...)
}

func scopeShared(ctx context.Context, b *bench) error {
	return errors.Join(
		b.accept(ctx, entry("s/one", 20, "new")),
		b.refuse(ctx, entry("s/two", 19, "stale in another row"), resources.ErrStale),
		b.accept(ctx, entry("other/one", 19, "another scope")),
	)
}

// largeNumbers has tokens that are equal as floating-point numbers, and ones that
// differ in length.
func largeNumbers(ctx context.Context, b *bench) error {
	const big = 1<<53 + 2
	return errors.Join(
		b.accept(ctx, entry("s/row", 9, "a")),
		b.accept(ctx, entry("s/row", 10, "b")),
		b.refuse(ctx, entry("s/row", 9, "stale"), resources.ErrStale),
		b.accept(ctx, entry("s/row", big, "c")),
		b.refuse(ctx, entry("s/row", big-1, "stale"), resources.ErrStale),
		b.accept(ctx, resources.Entry{Row: "s/row", RawToken: "123456789012345678901234567891", Value: "d"}),
		b.refuse(ctx, resources.Entry{Row: "s/row", RawToken: "123456789012345678901234567890", Value: "stale"}, resources.ErrStale),
	)
}

func reopened(ctx context.Context, b *bench) error {
	if err := errors.Join(b.accept(ctx, entry("s/row", 30, "kept")), b.Close()); err != nil {
		return err
	}
	again, err := b.open(ctx)
	if err != nil {
		return err
	}
	b.Resource = again
	v, err := b.Read(ctx, "s/row")
	if err != nil || v.Value != "kept" {
		return fmt.Errorf("read after reopen: %+v, %v", v, err)
	}
	return b.refuse(ctx, entry("s/row", 29, "stale"), resources.ErrStale)
}

// concurrent lets two holders write at once. Once a write of the new one has
// returned, none of the old one may be accepted, in any row.
func concurrent(ctx context.Context, b *bench) error {
	for round := range 20 {
		old, fresh := int64(2*round+1), int64(2*round+2)
		if err := b.accept(ctx, entry("s/row", old, "first")); err != nil {
			return err
		}
		if err := b.race(ctx, old, fresh); err != nil {
			return fmt.Errorf("round %d: %w", round+1, err)
		}
	}
	return nil
}

func (b *bench) race(ctx context.Context, old, fresh int64) error {
	var writers sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		writers.Go(func() {
			token := old
			if i == 0 {
				token = fresh
			}
			_, err := b.Write(ctx, entry("s/row", token, fmt.Sprint(token, " by ", i)))
			if token == old && errors.Is(err, resources.ErrStale) {
				err = nil
			}
			errs[i] = err
		})
	}
	writers.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	v, err := b.Read(ctx, "s/row")
	if err != nil {
		return err
	}
	if want := fmt.Sprint(fresh, " by 0"); v.Value != want {
		return fmt.Errorf("after old and new wrote at once the row is %q, want %q", v.Value, want)
	}
	return nil
}

// serverDies stops the server, so that the write is certainly under way when it is
// killed.
func serverDies(ctx context.Context, b *bench) error {
	if err := b.server.Stop(); err != nil {
		return err
	}
	killed := make(chan struct{})
	time.AfterFunc(300*time.Millisecond, func() { b.server.Kill(); close(killed) })
	callCtx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := b.Write(callCtx, entry("s/row", 1, "lost"))
	<-killed
	if err == nil || errors.Is(err, resources.ErrStale) || errors.Is(err, resources.ErrRefused) {
		return fmt.Errorf("write while the server dies: %v claims to know the outcome", err)
	}
	return nil
}

func closeTwice(_ context.Context, b *bench) error { return errors.Join(b.Close(), b.Close()) }
