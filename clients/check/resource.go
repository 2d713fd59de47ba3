package check

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/resources"
)

// tokenHeader carries the token to the resource of the battery.
const tokenHeader = "X-Check-Token"

// resource is an HTTP resource that remembers what it was sent, and whose rows answer as
// their names say.
type resource struct {
	server   *http.Server
	listener net.Listener

	mu   sync.Mutex
	rows map[string]sent
}

// sent is one write as it arrived.
type sent struct {
	Token string `json:"token"`
	Value string `json:"value"`
	OpID  string `json:"-"`
	Seq   int    `json:"seq"`
}

func newResource() (*resource, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &resource{listener: l, rows: map[string]sent{}}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: limit}
	go func() { _ = r.server.Serve(l) }() // until close
	return r, nil
}

func (r *resource) close() { _ = r.server.Close() }

func (r *resource) target() *resources.Target {
	return &resources.Target{Kind: "http", URL: "http://" + r.listener.Addr().String() + "/rows/{row}", TokenHeader: tokenHeader}
}

// statuses of rows by the last word of their names.
var statuses = map[string]int{"stale": 409, "outdated": 412, "forbidden": 403, "failing": 500, "away": 503}

func (r *resource) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	row := strings.TrimPrefix(q.URL.Path, "/rows/")
	r.mu.Lock()
	defer r.mu.Unlock()
	if q.Method == http.MethodGet {
		found, ok := r.rows[row]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_ = json.NewEncoder(w).Encode(found)
		return
	}
	var body struct {
		Value string `json:"value"`
		OpID  string `json:"op_id"`
	}
	data, err := io.ReadAll(io.LimitReader(q.Body, 1<<20))
	if err != nil || json.Unmarshal(data, &body) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.rows[row] = sent{q.Header.Get(tokenHeader), body.Value, body.OpID, r.rows[row].Seq + 1}
	name := row[strings.LastIndexByte(row, '/')+1:]
	if name == "broken" {
		panic(http.ErrAbortHandler) // the connection ends without an answer
	}
	if status := statuses[name]; status != 0 {
		w.WriteHeader(status)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]int{"seq": r.rows[row].Seq})
}

func (r *resource) got(row string) sent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rows[row]
}

// withResource introduces a client to the battery's resource.
func (b *bench) withResource(ctx context.Context) (*peer, *resource, error) {
	r, err := newResource()
	if err != nil {
		return nil, nil, err
	}
	p, hello, err := b.open(ctx, b.o.Target, r.target())
	if err == nil && hello.Type != history.OK {
		err = unshown("the client does not know an HTTP resource: " + said(hello) + because(hello))
	}
	if err != nil {
		r.close()
		return nil, nil, err
	}
	return p, r, nil
}

func writes(ctx context.Context, b *bench) error {
	p, r, err := b.withResource(ctx)
	if err != nil {
		return err
	}
	defer r.close()
	key := b.key()
	g, err := acquire(ctx, p, key, long, 0)
	if err != nil {
		return err
	}
	for _, c := range []struct {
		row, raw string
		token    *history.Token
		wire     string
	}{
		{"check/token", "", g.Answer.Token, g.Answer.Token.Wire()},
		{"check/raw", "not-a-token", g.Answer.Token, "not-a-token"},
		{"check/none", "", nil, ""},
	} {
		w := p.do(ctx, clients.Request{Op: clients.OpWrite, Row: c.row, Token: c.token, RawToken: c.raw, Value: "a value", OpID: "op-" + c.row})
		if err := expect("write to the row "+c.row, w, "ok"); err != nil {
			return err
		}
		got := r.got(c.row)
		if got.Seq == 0 {
			return fmt.Errorf("write to the row %s was answered ok, and never arrived there", c.row)
		}
		if got.Token != c.wire || got.Value != "a value" || got.OpID != "op-"+c.row {
			return fmt.Errorf("write to the row %s arrived with token %q, value %q, op_id %q; want %q, %q, %q", c.row, got.Token, got.Value, got.OpID, c.wire, "a value", "op-"+c.row)
		}
		if got.Seq != 1 || w.Answer.Seq != 0 && w.Answer.Seq != 1 {
			return fmt.Errorf("write to the row %s: it arrived %d times, and seq is %d", c.row, got.Seq, w.Answer.Seq)
		}
	}
	back := p.do(ctx, clients.Request{Op: clients.OpRead, Row: "check/token"})
	if err := expect("read", back, "ok"); err != nil {
		return err
	}
	if back.Answer.Value != "a value" {
		return fmt.Errorf("read gave the value %q, want %q", back.Answer.Value, "a value")
	}
	if err := expect("read of a row that was never written", p.do(ctx, clients.Request{Op: clients.OpRead, Row: "check/never"}), "ok"); err != nil {
		return err
	}
	return expect("release", p.release(ctx, key, g.Answer.Token), "ok")
}

func refusals(ctx context.Context, b *bench) error {
	p, r, err := b.withResource(ctx)
	if err != nil {
		return err
	}
	defer r.close()
	for _, c := range []struct{ row, why, want string }{
		{"stale", "status 409", "fail stale"},
		{"outdated", "status 412", "fail stale"},
		{"forbidden", "status 403", "fail refused"},
		{"failing", "status 500: it may have been written", "info"},
		{"away", "status 503: it may have been written", "info"},
		{"broken", "the connection ended before an answer", "info"},
	} {
		w := p.do(ctx, clients.Request{Op: clients.OpWrite, Row: "check/" + c.row, RawToken: "1", Value: "v", OpID: "op-" + c.row})
		if err := expect("write ("+c.why+")", w, c.want); err != nil {
			return err
		}
		if got := r.got("check/" + c.row); got.Seq != 1 {
			return fmt.Errorf("write (%s) arrived %d times, want once: never repeat what may have happened", c.why, got.Seq)
		}
	}
	return nil
}
