package clients_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/lab/ledger"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/locks/redis"
	"github.com/lockaudit/lockaudit/resources"
	"github.com/lockaudit/lockaudit/resources/http"
)

// serve connects a Conn to a Serve in this process. done gives Serve's error.
func serve(t *testing.T, o clients.ServeOptions) (conn *clients.Conn, done <-chan error) {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := clients.Serve(context.Background(), inR, outW, o)
		outW.Close()
		ended <- err
	}()
	began := time.Now()
	conn = clients.NewConn(inW, outR, func() time.Duration { return time.Since(began) })
	t.Cleanup(func() { conn.Close() })
	return conn, ended
}

func do(t *testing.T, c *clients.Conn, req clients.Request) clients.Reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	return c.Do(ctx, req)
}

// fake is a lock driver whose client does what the test says.
type fake struct {
	acquire func(ctx context.Context) (locks.Grant, error)
	notices chan locks.Notice
	closed  chan struct{}
	calls   chan string
}

func newFake() *fake {
	return &fake{notices: make(chan locks.Notice), closed: make(chan struct{}), calls: make(chan string, 100)}
}

func (f *fake) Name() string                                              { return "fake" }
func (f *fake) Open(context.Context, locks.Target) (locks.Client, error)  { return f, nil }
func (f *fake) Capabilities() []locks.Capability                          { return []locks.Capability{locks.ObserveLoss} }
func (f *fake) Notices() <-chan locks.Notice                              { return f.notices }
func (f *fake) Renew(context.Context, locks.Grant) (time.Duration, error) { return 0, locks.ErrLost }
func (f *fake) Close() error                                              { close(f.closed); close(f.notices); return nil }
func (f *fake) Inspect(context.Context, locks.Target) (facts.Deployment, error) {
	return facts.Deployment{}, errors.New("unreadable")
}
func (f *fake) Release(context.Context, locks.Grant) error {
	f.calls <- "release"
	return errors.New("connection reset")
}
func (f *fake) Acquire(ctx context.Context, key string, ttl, _ time.Duration) (locks.Grant, error) {
	if f.acquire != nil {
		return f.acquire(ctx)
	}
	return locks.Grant{Key: key, TTL: ttl, Token: history.OrderedToken(7)}, nil
}

func begin(t *testing.T, f *fake) (*clients.Conn, <-chan error) {
	t.Helper()
	conn, done := serve(t, clients.ServeOptions{Name: "test", Locks: []locks.Driver{f}})
	r := do(t, conn, clients.Request{Op: clients.OpInit, Version: clients.Version, Lock: &locks.Target{Backend: "fake"}})
	if r.Type != history.OK {
		t.Fatalf("init: %+v", r)
	}
	return conn, done
}

var acquire = clients.Request{Op: clients.OpAcquire, Key: "k", TTLms: 1000}

func holding(t *testing.T, c *clients.Conn) bool {
	t.Helper()
	r := do(t, c, clients.Request{Op: clients.OpStatus, Key: "k"})
	if r.Type != history.OK {
		t.Fatalf("status: %+v", r)
	}
	return *r.Answer.Holding
}

func TestBelief(t *testing.T) {
	f := newFake()
	conn, _ := begin(t, f)
	if holding(t, conn) {
		t.Error("holds before it has acquired")
	}
	for _, end := range []func(){
		func() { do(t, conn, clients.Request{Op: clients.OpRelease, Key: "k"}) },
		func() { do(t, conn, clients.Request{Op: clients.OpRenew, Key: "k"}) },
		func() {
			f.notices <- locks.Notice{Kind: locks.Lost, Key: "k"}
			if u := <-conn.Events(); u.Event != clients.EventLost || u.Key != "k" {
				t.Errorf("event %+v", u)
			}
		},
	} {
		if r := do(t, conn, acquire); r.Type != history.OK {
			t.Fatalf("acquire: %+v", r)
		}
		if !holding(t, conn) {
			t.Error("does not hold after it has acquired")
		}
		end()
		if holding(t, conn) {
			t.Error("holds after the end")
		}
	}
}

func TestRenewedHasSince(t *testing.T) {
	f := newFake()
	conn, _ := begin(t, f)
	sent := time.Now()
	f.notices <- locks.Notice{Kind: locks.Renewed, Key: "k", TTL: time.Second, Since: sent}
	u := <-conn.Events()
	if u.Event != clients.EventRenewed || u.TTL != time.Second || u.Since == nil || *u.Since > u.At {
		t.Errorf("%+v", u)
	}
}

func TestPanicIsNoAnswer(t *testing.T) {
	f := newFake()
	f.acquire = func(context.Context) (locks.Grant, error) { panic("nil map") }
	conn, _ := begin(t, f)
	if r := do(t, conn, acquire); r.Type != history.Info || !strings.Contains(r.Err, "nil map") {
		t.Errorf("%+v", r)
	}
}

func TestUnknownErrorIsInfo(t *testing.T) {
	conn, _ := begin(t, newFake())
	if r := do(t, conn, clients.Request{Op: clients.OpRelease, Key: "k"}); r.Type != history.Info {
		t.Errorf("%+v", r)
	}
	if r := do(t, conn, clients.Request{Op: clients.OpInspect}); r.Type != history.Info {
		t.Errorf("%+v", r)
	}
}

// TestStatusWhileAcquireWaits: requests run side by side, and a call that the
// auditor gives up ends at the driver too.
func TestStatusWhileAcquireWaits(t *testing.T) {
	f := newFake()
	waiting, ended := make(chan struct{}), make(chan error, 1)
	f.acquire = func(ctx context.Context) (locks.Grant, error) {
		close(waiting)
		<-ctx.Done()
		ended <- ctx.Err()
		return locks.Grant{}, ctx.Err()
	}
	conn, _ := begin(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan clients.Reply, 1)
	go func() { done <- conn.Do(ctx, acquire) }()
	<-waiting
	if holding(t, conn) {
		t.Error("holds while it waits")
	}
	cancel()
	if r := <-done; r.Type != history.Info || r.Code != history.CodeTimeout {
		t.Errorf("%+v", r)
	}
	select {
	case <-ended:
	case <-time.After(hang):
		t.Error("the driver's call was not cancelled")
	}
}

func TestEndOfInputClosesWithoutRelease(t *testing.T) {
	f := newFake()
	conn, done := begin(t, f)
	do(t, conn, acquire)
	conn.Close()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Serve: %v", err)
		}
	case <-time.After(hang):
		t.Fatal("Serve goes on after the end of its input")
	}
	<-f.closed
	if len(f.calls) > 0 {
		t.Error("the hold was released")
	}
}

func TestRefusals(t *testing.T) {
	conn, _ := serve(t, clients.ServeOptions{Locks: []locks.Driver{newFake()}, Resources: []resources.Kind{http.Kind{}}})
	target := &locks.Target{Backend: "fake"}
	for _, c := range []struct {
		req  clients.Request
		says string
	}{
		{acquire, "before init"},
		{clients.Request{Op: clients.OpInit, Version: 2, Lock: target}, "version 2"},
		{clients.Request{Op: clients.OpInit, Version: 1}, "without lock"},
		{clients.Request{Op: clients.OpInit, Version: 1, Lock: &locks.Target{Backend: "etdc"}}, "unknown name \"etdc\", want one of [fake]"},
		{clients.Request{Op: clients.OpInit, Version: 1, Lock: target, Resource: &resources.Target{Kind: "ftp"}}, "unknown name"},
		{clients.Request{Op: clients.OpInit, Version: 1, Lock: target}, ""},
		{clients.Request{Op: clients.OpInit, Version: 1, Lock: target}, "init came before"},
		{clients.Request{Op: "juggle"}, "unknown op"},
		{clients.Request{Op: clients.OpWrite, Row: "r"}, "no resource"},
		{clients.Request{Op: clients.OpObserve, Key: "k"}, "cannot"},
		{clients.Request{Op: clients.OpAcquire, Key: "k"}, "ttl_ms"},
		{clients.Request{Op: clients.OpAcquire, Key: "k", TTLms: -1}, "out of range"},
	} {
		r := do(t, conn, c.req)
		if c.says == "" && r.Type != history.OK {
			t.Errorf("%s: %+v", c.req.Op, r)
		}
		if c.says != "" && (r.Type != history.Fail || r.Code != history.CodeRefused || !strings.Contains(r.Err, c.says)) {
			t.Errorf("%s: %+v, want refused with %q", c.req.Op, r, c.says)
		}
	}
}

// TestDocumentedSession replays the session of docs/client-protocol.md.
func TestDocumentedSession(t *testing.T) {
	page, err := os.ReadFile("../docs/client-protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(page, []byte("```session\n"))
	session, _, ok := bytes.Cut(rest, []byte("\n```"))
	if !ok {
		t.Fatal("the page has no session")
	}
	redisServer := servers.StartRedis(t)
	book, err := ledger.Open(t.TempDir(), ledger.Ordered)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { book.Close() })
	web := httptest.NewServer(book)
	t.Cleanup(web.Close)

	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	go func() {
		defer outW.Close()
		_ = clients.Serve(t.Context(), inR, outW, clients.ServeOptions{
			Name: "example", Locks: []locks.Driver{redis.Driver{}}, Resources: []resources.Kind{http.Kind{}},
		})
	}()
	t.Cleanup(func() { inW.Close() })
	answers := bufio.NewScanner(outR)
	documented, minted := "5f0c6d1e9b7a44c28f31d0a6e2b95c17", ""
	pairs := 0
	for line := range strings.Lines(string(session)) {
		way, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		if way == "→" {
			text = strings.NewReplacer("127.0.0.1:6379", redisServer.Endpoint, "http://127.0.0.1:8080", web.URL, documented, minted).Replace(text)
			if _, err := io.WriteString(inW, text+"\n"); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if !answers.Scan() {
			t.Fatalf("no answer to compare with %s", text)
		}
		pairs++
		var want, got clients.Message
		if err := errors.Join(json.Unmarshal([]byte(text), &want), json.Unmarshal(answers.Bytes(), &got)); err != nil {
			t.Fatal(err)
		}
		if got.OK != nil && got.OK.Token != nil && len(got.OK.Token.ID) == len(documented) {
			minted = got.OK.Token.ID
			got.OK.Token.ID = documented
		}
		if g, w := shape(t, got), shape(t, want); !maps.Equal(g, w) {
			t.Errorf("request %d:\n got %s\nwant %s", want.ID, answers.Text(), text)
		}
		if got.OK != nil && !slices.Equal(got.OK.Capabilities, want.OK.Capabilities) {
			t.Errorf("capabilities %v, want %v", got.OK.Capabilities, want.OK.Capabilities)
		}
	}
	if pairs < 10 {
		t.Errorf("only %d answers in the session", pairs)
	}
}

// shape is what must agree: the body of an ok, the code of a fail.
func shape(t *testing.T, m clients.Message) map[string]string {
	t.Helper()
	out := map[string]string{}
	if m.OK != nil {
		text, err := json.Marshal(m.OK)
		if err != nil {
			t.Fatal(err)
		}
		out["ok"] = string(text)
	}
	if m.Fail != nil {
		out["fail"] = string(m.Fail.Code)
	}
	if m.Info != nil {
		out["info"] = string(m.Info.Code)
	}
	return out
}
