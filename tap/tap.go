// Package tap is a reverse proxy before an HTTP resource that writes down what comes by:
// who wrote, in which order, with which fencing token, and what the resource said. For experiments it can hold writes back or refuse them.
package tap

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"time"
)

// Line is one request in the record. Bodies and queries, which may hold secrets, are not
// in it.
type Line struct {
	// Seq numbers the requests in the order in which they were let through. Writes go
	// through one at a time, so that it is also the order of their effects.
	Seq uint64    `json:"seq"`
	At  time.Time `json:"at"`
	// From is the client's address and port.
	From   string `json:"from"`
	Method string `json:"method"`
	Path   string `json:"path"`
	Token  string `json:"token,omitempty"`
	// Status of the answer; 0: the resource did not answer, and nobody knows.
	Status int           `json:"status"`
	Took   time.Duration `json:"took"` // nanoseconds
	// Held is how long the tap kept the request back. Refused: the tap refused it, and the
	// resource never saw it.
	Held    time.Duration `json:"held,omitempty"`
	Refused bool          `json:"refused,omitempty"`
}

// Writes reports whether the request may change something.
func (l Line) Writes() bool { return writes(l.Method) }

func writes(method string) bool {
	return method != http.MethodGet && method != http.MethodHead && method != http.MethodOptions
}

// Options of a tap.
type Options struct {
	// To is the resource.
	To *url.URL
	// TokenHeader carries the fencing token.
	TokenHeader string
	// HoldWhile and RefuseWhile are files: while one is there, writes are kept back, or
	// answered with 503. Empty: never.
	HoldWhile, RefuseWhile string
}

// Tap is the proxy. Use New.
type Tap struct {
	o     Options
	proxy *httputil.ReverseProxy
	one   chan struct{} // one write at a time

	mu     sync.Mutex // of what follows
	record io.Writer
	seq    uint64
	failed error
}

// New makes a tap that writes its record, a JSON line for each request, to w.
func New(o Options, w io.Writer) *Tap {
	t := &Tap{o: o, one: make(chan struct{}, 1), record: w}
	t.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(o.To)
			for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
				if v, ok := r.In.Header[name]; ok { // as the client sent them
					r.Out.Header[name] = v
				}
			}
		},
		// A write whose outcome is unknown is not sent again.
		Transport: once{http.DefaultTransport},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			if s, ok := w.(*statusWriter); ok {
				s.lost = true
			}
			w.WriteHeader(http.StatusBadGateway)
		},
	}
	return t
}

// once hides GetBody, without which the transport cannot repeat a request.
type once struct{ http.RoundTripper }

func (o once) RoundTrip(r *http.Request) (*http.Response, error) {
	r.GetBody = nil
	return o.RoundTripper.RoundTrip(r)
}

// Err is the first failure to write the record: from then on nothing is let through.
func (t *Tap) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

// ServeHTTP lets a request through and writes down how it went.
func (t *Tap) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if t.Err() != nil { // what is not recorded must not be done
		http.Error(w, "the tap cannot keep its record", http.StatusServiceUnavailable)
		return
	}
	line := Line{At: time.Now(), From: r.RemoteAddr, Method: r.Method, Path: r.URL.Path, Token: r.Header.Get(t.o.TokenHeader)}
	if line.Writes() {
		if !t.enter(r, &line) {
			return // the client has gone; the resource never saw it
		}
		defer func() { <-t.one }()
	}
	t.number(&line)
	began := time.Now()
	out := &statusWriter{ResponseWriter: w}
	defer func() { // also if the client goes away in the middle of the answer, which panics
		line.Took, line.Status = time.Since(began), out.status
		if out.lost {
			line.Status = 0
		}
		t.write(line)
	}()
	if line.Writes() && there(t.o.RefuseWhile) {
		line.Refused = true
		http.Error(out, "refused by lockaudit tap", http.StatusServiceUnavailable)
	} else {
		t.proxy.ServeHTTP(out, r)
	}
}

// enter waits for its turn, and for as long as writes are held.
func (t *Tap) enter(r *http.Request, line *Line) bool {
	began := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for there(t.o.HoldWhile) {
		select {
		case <-r.Context().Done():
			return false
		case <-tick.C:
			line.Held = time.Since(began)
		}
	}
	select {
	case t.one <- struct{}{}:
		return true
	case <-r.Context().Done():
		return false
	}
}

func there(file string) bool {
	if file == "" {
		return false
	}
	_, err := os.Lstat(file)
	return !errors.Is(err, fs.ErrNotExist) // one that cannot be looked at is there
}

func (t *Tap) number(line *Line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seq++
	line.Seq = t.seq
}

func (t *Tap) write(line Line) {
	b, err := json.Marshal(line)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		_, err = t.record.Write(append(b, '\n'))
	}
	if err != nil && t.failed == nil {
		t.failed = fmt.Errorf("keep the record of the tap: %w", err)
	}
}

// statusWriter notes the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
	lost   bool
}

func (s *statusWriter) WriteHeader(status int) {
	if status >= 200 && s.status == 0 {
		s.status = status
	}
	s.ResponseWriter.WriteHeader(status)
}

func (s *statusWriter) Write(b []byte) (int, error) {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	return s.ResponseWriter.Write(b)
}

// Unwrap lets the proxy flush what streams.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
