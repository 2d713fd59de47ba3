package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Resource is what the lock protects: POST and GET, the token in a header.
type Resource struct {
	Kind        string `json:"kind"`
	URL         string `json:"url"`
	TokenHeader string `json:"token_header"`
}

var web = &http.Client{
	Timeout: 2 * time.Second,
	// A redirected write may have been done at the first address already.
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (r *Resource) request(ctx context.Context, method, row string, body io.Reader) (*http.Request, error) {
	segments := strings.Split(row, "/")
	for i := range segments {
		segments[i] = url.PathEscape(segments[i])
	}
	return http.NewRequestWithContext(ctx, method, strings.ReplaceAll(r.URL, "{row}", strings.Join(segments, "/")), body)
}

// Write does not look at the token: to refuse it is the resource's part.
func (r *Resource) Write(ctx context.Context, q Request) (seq uint64, err error) {
	body, err := json.Marshal(map[string]string{"value": q.Value, "op_id": q.OpID})
	if err != nil {
		return 0, refused("%v", err)
	}
	// NopCloser hides the body's kind, or the transport would send it again by itself.
	request, err := r.request(ctx, http.MethodPost, q.Row, io.NopCloser(bytes.NewReader(body)))
	if err != nil {
		return 0, refused("%v", err)
	}
	request.ContentLength = int64(len(body))
	request.Header.Set("Content-Type", "application/json")
	token := q.RawToken
	if token == "" {
		token = q.Token.Order
	}
	if token == "" {
		token = q.Token.ID
	}
	if token != "" && r.TokenHeader != "" {
		request.Header.Set(r.TokenHeader, token)
	}
	answer, err := web.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	switch status := answer.StatusCode; {
	case status == http.StatusConflict || status == http.StatusPreconditionFailed:
		return 0, Fail{"stale", fmt.Sprintf("write %s: status %d", q.Row, status)}
	case status/100 == 4 && status != http.StatusRequestTimeout:
		return 0, refused("write %s: status %d", q.Row, status)
	case status/100 != 2:
		return 0, fmt.Errorf("write %s: status %d", q.Row, status) // it may have been written
	}
	var accepted struct {
		Seq uint64 `json:"seq"`
	}
	_ = json.NewDecoder(answer.Body).Decode(&accepted) // without a seq there is none
	return accepted.Seq, nil
}

// Read returns what the row holds; of one that was never written, nothing.
func (r *Resource) Read(ctx context.Context, row string) (any, error) {
	request, err := r.request(ctx, http.MethodGet, row, nil)
	if err != nil {
		return nil, refused("%v", err)
	}
	answer, err := web.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusNotFound {
		return object{}, nil
	}
	if answer.StatusCode/100 != 2 {
		return nil, fmt.Errorf("read %s: status %d", row, answer.StatusCode)
	}
	var found struct {
		Value, Token string
		Seq          uint64
	}
	if err := json.NewDecoder(answer.Body).Decode(&found); err != nil {
		return nil, err
	}
	out := object{"value": found.Value, "seq": found.Seq}
	if found.Token != "" {
		out["token"] = Token{ID: found.Token}
	}
	return out, nil
}
