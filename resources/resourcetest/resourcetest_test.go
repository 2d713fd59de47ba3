package resourcetest_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/resources"
	"github.com/lockaudit/lockaudit/resources/redis"
	"github.com/lockaudit/lockaudit/resources/resourcetest"
)

// broken is the redis resource with something replaced.
type broken struct {
	redis.Kind
	write func(ctx context.Context, r resources.Resource, e resources.Entry) (uint64, error)
	read  func(ctx context.Context, r resources.Resource, row string) (resources.Value, error)
	close func(n int) error
	// fresh gives every client its own data.
	fresh bool
}

func (b broken) Open(ctx context.Context, t resources.Target) (resources.Resource, error) {
	if b.fresh {
		t.Options = json.RawMessage(`{"prefix": "` + strconv.FormatInt(time.Now().UnixNano(), 10) + `"}`)
	}
	r, err := b.Kind.Open(ctx, t)
	return &brokenResource{Resource: r, by: b}, err
}

type brokenResource struct {
	resources.Resource
	by     broken
	closed int
}

func (r *brokenResource) Write(ctx context.Context, e resources.Entry) (uint64, error) {
	if r.by.write != nil {
		return r.by.write(ctx, r.Resource, e)
	}
	return r.Resource.Write(ctx, e)
}

func (r *brokenResource) Read(ctx context.Context, row string) (resources.Value, error) {
	if r.by.read != nil {
		return r.by.read(ctx, r.Resource, row)
	}
	return r.Resource.Read(ctx, row)
}

func (r *brokenResource) Close() error {
	r.closed++
	if r.by.close != nil {
		return r.by.close(r.closed)
	}
	return r.Resource.Close()
}

// unfenced writes with a token above every other one.
func unfenced(ctx context.Context, r resources.Resource, e resources.Entry) (uint64, error) {
	e.RawToken = strings.Repeat("9", 60)
	return r.Write(ctx, e)
}

// equality lets the first token of a row in and no other.
func equality() func(ctx context.Context, r resources.Resource, e resources.Entry) (uint64, error) {
	var mu sync.Mutex
	owner := map[string]string{}
	return func(ctx context.Context, r resources.Resource, e resources.Entry) (uint64, error) {
		mu.Lock()
		defer mu.Unlock()
		if o, ok := owner[e.Row]; ok && o != e.Wire() {
			return 0, resources.ErrStale
		}
		owner[e.Row] = e.Wire()
		return r.Write(ctx, e)
	}
}

// checkThenWrite looks at the mark and writes in two steps.
func checkThenWrite() func(ctx context.Context, r resources.Resource, e resources.Entry) (uint64, error) {
	var mu sync.Mutex
	marks := map[string]int64{}
	return func(ctx context.Context, r resources.Resource, e resources.Entry) (uint64, error) {
		n := e.Token.Order.Int64()
		mu.Lock()
		stale := n < marks[e.Row]
		marks[e.Row] = max(n, marks[e.Row])
		mu.Unlock()
		if stale {
			return 0, resources.ErrStale
		}
		if n%2 == 1 { // the old holder's write is slow
			time.Sleep(20 * time.Millisecond)
		}
		return unfenced(ctx, r, e)
	}
}

// asFloat compares as Lua's and JavaScript's numbers do.
func asFloat(ctx context.Context, r resources.Resource, e resources.Entry) (uint64, error) {
	f, err := strconv.ParseFloat(e.Wire(), 64)
	if err != nil {
		return 0, resources.ErrRefused
	}
	e.RawToken = strconv.FormatFloat(f, 'f', 0, 64)
	return r.Write(ctx, e)
}

func TestSuiteFailsBrokenResources(t *testing.T) {
	for _, c := range []struct {
		check string
		kind  broken
		says  string
	}{
		{"a row never written is empty", broken{read: func(context.Context, resources.Resource, string) (resources.Value, error) {
			return resources.Value{}, errors.New("no such row")
		}}, "no such row"},
		{"newest and equal tokens are accepted", broken{write: equality()}, "write 3"},
		{"a stale token is refused without effect", broken{write: unfenced}, "got <nil>"},
		{"a stale token is refused without effect", broken{write: func(ctx context.Context, r resources.Resource, e resources.Entry) (uint64, error) {
			seq, err := r.Write(ctx, e)
			if errors.Is(err, resources.ErrStale) { // refuses after it has written
				e.RawToken = "11"
				_, _ = r.Write(ctx, e)
			}
			return seq, err
		}}, "changed the row"},
		{"missing and malformed tokens are refused without effect", broken{write: func(ctx context.Context, r resources.Resource, e resources.Entry) (uint64, error) {
			if e.Wire() == "" {
				e.Token = history.OrderedToken(10)
			}
			return r.Write(ctx, e)
		}}, `token ""`},
		{"rows of a scope share one mark", broken{write: func(ctx context.Context, r resources.Resource, e resources.Entry) (uint64, error) {
			e.Row = strings.ReplaceAll(e.Row, "/", "-")
			return r.Write(ctx, e)
		}}, "got <nil>"},
		{"large numbers are compared exactly", broken{write: asFloat}, "got <nil>"},
		{"the mark outlives the client", broken{fresh: true}, "read after reopen"},
		{"concurrent writes never leave old after new", broken{write: checkThenWrite()}, "at once the row is"},
		{"a server that dies in mid-write leaves it open", broken{write: func(ctx context.Context, r resources.Resource, e resources.Entry) (uint64, error) {
			_, err := r.Write(ctx, e)
			return 0, errors.Join(err, resources.ErrRefused)
		}}, "claims to know"},
		{"close may be repeated", broken{close: func(n int) error {
			if n > 1 {
				return errors.New("already closed")
			}
			return nil
		}}, "already closed"},
	} {
		t.Run(c.check+": "+c.says, func(t *testing.T) {
			t.Parallel()
			err := check(t, c.check).Try(t, resourcetest.Subject{Kind: c.kind, Start: func(tb testing.TB) (resources.Target, resourcetest.Server) {
				s := servers.StartRedis(tb)
				return resources.Target{Endpoints: []string{s.Endpoint}}, s
			}})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the check says %v, want an error with %q", err, c.says)
			}
		})
	}
}

func TestEveryCheckHasABrokenResource(t *testing.T) {
	source, err := os.ReadFile("resourcetest_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range resourcetest.Checks() {
		if !strings.Contains(string(source), "{"+strconv.Quote(c.Name)+", ") {
			t.Errorf("no broken resource for the check %q", c.Name)
		}
	}
}

func check(t *testing.T, name string) resourcetest.Check {
	for _, c := range resourcetest.Checks() {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no check %q", name)
	return resourcetest.Check{}
}
