// Package http writes to an HTTP resource that takes the fencing token in a
// header.
//
//	POST url  {"value":"…","op_id":"…"}   2xx accepted, optionally {"seq":n}
//	                                      409, 412 stale token · other 4xx refused
//	                                      anything else: may have happened
//	GET  url                              {"value":"…","token":"…","seq":n} · 404 never written
package http

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/lockaudit/lockaudit/resources"
	"github.com/lockaudit/lockaudit/strict"
)

// Kind is the http resource.
type Kind struct{}

// Name implements resources.Kind.
func (Kind) Name() string { return "http" }

// maxBody bounds what is read of an answer, in bytes.
const maxBody = 1 << 20

// Open implements resources.Kind. It sends nothing: the resource may be a path
// that answers only to writes.
func (Kind) Open(_ context.Context, t resources.Target) (resources.Resource, error) {
	if err := strict.Options(t.Options, &struct{}{}, resources.ErrRefused); err != nil {
		return nil, err
	}
	u, err := url.Parse(strings.ReplaceAll(t.URL, rowMark, "row"))
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("open http resource: url %q is not http://… or https://…: %w", t.URL, resources.ErrRefused)
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
	return &resource{
		target:    t,
		transport: transport,
		client: &http.Client{
			Transport: transport,
			// A redirected write may have been done at the first address already.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

type resource struct {
	target    resources.Target
	transport *http.Transport
	client    *http.Client

	mu     sync.Mutex
	closed bool
}

// rowMark in a URL stands for the row.
const rowMark = "{row}"

// address puts the row in its place, each segment escaped on its own: a row is
// "scope/name", and its slash separates.
func (r *resource) address(row string) string {
	segments := strings.Split(row, "/")
	for i := range segments {
		segments[i] = url.PathEscape(segments[i])
	}
	return strings.ReplaceAll(r.target.URL, rowMark, strings.Join(segments, "/"))
}

// Write implements resources.Resource.
func (r *resource) Write(ctx context.Context, e resources.Entry) (uint64, error) {
	body, err := json.Marshal(map[string]string{"value": e.Value, "op_id": e.OpID})
	if err != nil {
		return 0, fmt.Errorf("write %s: encode: %w: %w", e.Row, err, resources.ErrRefused)
	}
	// A plain reader instead of bytes.Reader hides GetBody: the transport cannot
	// repeat a request whose body it cannot get again.
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.address(e.Row), io.NopCloser(bytes.NewReader(body)))
	if err != nil {
		return 0, fmt.Errorf("write %s: %w: %w", e.Row, err, resources.ErrRefused)
	}
	request.ContentLength = int64(len(body))
	request.Header.Set("Content-Type", "application/json")
	if token := e.Wire(); token != "" && r.target.TokenHeader != "" {
		request.Header.Set(r.target.TokenHeader, token)
	}
	status, answer, err := r.send(request)
	switch {
	case err != nil && status/100 != 2:
		return 0, fmt.Errorf("write %s: %w", e.Row, err)
	case status == http.StatusConflict || status == http.StatusPreconditionFailed:
		return 0, fmt.Errorf("write %s: %w: status %d %s", e.Row, resources.ErrStale, status, words(answer))
	case status == http.StatusRequestTimeout:
		return 0, fmt.Errorf("write %s: status %d %s", e.Row, status, words(answer))
	case status/100 == 4:
		return 0, fmt.Errorf("write %s: %w: status %d %s", e.Row, resources.ErrRefused, status, words(answer))
	case status/100 != 2:
		return 0, fmt.Errorf("write %s: status %d %s", e.Row, status, words(answer))
	}
	var accepted struct {
		Seq uint64 `json:"seq"`
	}
	// The body is the resource's own; without a seq in it there is none.
	if json.Unmarshal(answer, &accepted) != nil {
		return 0, nil
	}
	return accepted.Seq, nil
}

// Read implements resources.Resource.
func (r *resource) Read(ctx context.Context, row string) (resources.Value, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.address(row), nil)
	if err != nil {
		return resources.Value{}, fmt.Errorf("read %s: %w", row, err)
	}
	status, answer, err := r.send(request)
	switch {
	case err != nil:
		return resources.Value{}, fmt.Errorf("read %s: %w", row, err)
	case status == http.StatusNotFound:
		return resources.Value{}, nil
	case status/100 != 2:
		return resources.Value{}, fmt.Errorf("read %s: status %d %s", row, status, words(answer))
	}
	var v struct {
		Value string `json:"value"`
		Token string `json:"token"`
		Seq   uint64 `json:"seq"`
	}
	if err := json.Unmarshal(answer, &v); err != nil {
		return resources.Value{}, fmt.Errorf("read %s: decode: %w", row, err)
	}
	return resources.Value{Value: v.Value, Token: v.Token, Seq: v.Seq}, nil
}

var errClosed = errors.New("resource is closed")

// send returns the status also when the body could not be read.
func (r *resource) send(request *http.Request) (status int, body []byte, err error) {
	r.mu.Lock()
	closed := r.closed
	r.mu.Unlock()
	if closed {
		return 0, nil, errClosed
	}
	answer, err := r.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	body, err = io.ReadAll(io.LimitReader(answer.Body, maxBody))
	return answer.StatusCode, body, err
}

// words shortens an answer for an error message.
func words(body []byte) string {
	const most = 200
	text := strings.TrimSpace(string(body))
	if len(text) > most {
		text = text[:most] + "…"
	}
	return text
}

// Close implements resources.Resource.
func (r *resource) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.transport.CloseIdleConnections()
	return nil
}
