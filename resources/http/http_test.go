package http_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/lab/ledger"
	"github.com/lockaudit/lockaudit/resources"
	ours "github.com/lockaudit/lockaudit/resources/http"
	"github.com/lockaudit/lockaudit/resources/resourcetest"
)

// ledgerServer is the labs' ledger behind a gate: stopped, it takes requests and
// does not answer; killed, it cuts their connections.
type ledgerServer struct {
	*httptest.Server
	stopped atomic.Bool
	killed  chan struct{}
}

func (s *ledgerServer) Stop() error   { s.stopped.Store(true); return nil }
func (s *ledgerServer) Resume() error { s.stopped.Store(false); return nil }
func (s *ledgerServer) Kill() {
	close(s.killed)
	s.CloseClientConnections()
}

func start(tb testing.TB) (resources.Target, resourcetest.Server) {
	l, err := ledger.Open(tb.TempDir(), ledger.Ordered)
	if err != nil {
		tb.Fatal(err)
	}
	s := &ledgerServer{killed: make(chan struct{})}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.stopped.Load() {
			<-s.killed
			panic(http.ErrAbortHandler)
		}
		l.ServeHTTP(w, r)
	}))
	tb.Cleanup(func() { s.Close(); l.Close() })
	return resources.Target{Kind: "http", URL: s.URL + "/entries/{row}", TokenHeader: ledger.TokenHeader}, s
}

func TestConformance(t *testing.T) {
	resourcetest.Run(t, resourcetest.Subject{Kind: ours.Kind{}, Start: start})
}

// TestStatus: which answers are definite.
func TestStatus(t *testing.T) {
	for status, want := range map[int]error{
		200: nil, 204: nil,
		409: resources.ErrStale, 412: resources.ErrStale,
		400: resources.ErrRefused, 401: resources.ErrRefused, 404: resources.ErrRefused,
		408: errOpen, 500: errOpen, 502: errOpen, 504: errOpen,
		302: errOpen, 307: errOpen,
	} {
		var calls atomic.Int64
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
		}))
		_, err := write(t, resources.Target{URL: s.URL, TokenHeader: "X-Token"}, resources.Entry{Row: "s/r"})
		s.Close()
		definite := errors.Is(err, resources.ErrStale) || errors.Is(err, resources.ErrRefused)
		switch {
		case want == nil && err != nil, want == errOpen && (err == nil || definite), want != nil && want != errOpen && !errors.Is(err, want):
			t.Errorf("status %d: got %v, want %v", status, err, want)
		}
		if n := calls.Load(); n != 1 {
			t.Errorf("status %d: %d requests, want one", status, n)
		}
	}
}

var errOpen = errors.New("an error that leaves the outcome open")

func write(t *testing.T, target resources.Target, e resources.Entry) (uint64, error) {
	t.Helper()
	r, err := ours.Kind{}.Open(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return r.Write(t.Context(), e)
}

func TestRequest(t *testing.T) {
	var got *http.Request
	var body []byte
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		_, _ = io.WriteString(w, `{"seq": 7}`)
	}))
	defer s.Close()
	target := resources.Target{URL: s.URL + "/e/{row}?x=1", TokenHeader: "X-Token"}
	seq, err := write(t, target, resources.Entry{Row: "a b/c?d", Token: history.OrderedToken(12), Value: "v", OpID: "o"})
	if err != nil || seq != 7 {
		t.Fatalf("seq %d, %v", seq, err)
	}
	if got.RequestURI != "/e/a%20b/c%3Fd?x=1" || got.Header.Get("X-Token") != "12" || string(body) != `{"op_id":"o","value":"v"}` {
		t.Errorf("%s %q %s", got.RequestURI, got.Header.Get("X-Token"), body)
	}
	if _, err := write(t, target, resources.Entry{Row: "r"}); err != nil {
		t.Fatal(err)
	}
	if _, sent := got.Header["X-Token"]; sent {
		t.Error("a write without a token has the header")
	}
}

func TestURLIsChecked(t *testing.T) {
	for _, bad := range []string{"", "ledger:8080", "ftp://ledger/x", "http://", "://"} {
		if _, err := (ours.Kind{}).Open(t.Context(), resources.Target{URL: bad}); !errors.Is(err, resources.ErrRefused) {
			t.Errorf("url %q: %v", bad, err)
		}
	}
}
