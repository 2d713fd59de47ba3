package ledger

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHTTP(t *testing.T) {
	server := httptest.NewServer(open(t, t.TempDir(), Ordered))
	defer server.Close()
	const ok = `{"value":"v","op_id":"o"}`
	tests := []struct {
		name, method, path, token, body string
		status                          int
		want                            string // prefix of the answer
	}{
		{"healthy", "GET", "/healthz", "", "", 200, `{}`},
		{"never written", "GET", "/entries/a/x", "", "", 404, `{"error":`},
		{"first write", "POST", "/entries/a/x", "5", ok, 200, `{"seq":1}`},
		{"same holder again", "POST", "/entries/a/x", "5", ok, 200, `{"seq":2}`},
		{"stale", "POST", "/entries/a/x", "4", ok, 409, `{"error":"stale fencing token`},
		{"stale in another row of the scope", "POST", "/entries/a/y", "4", ok, 409, `{"error":"stale`},
		{"escaped row", "POST", "/entries/a%2Fx", "6", ok, 200, `{"seq":3}`},
		{"missing token", "POST", "/entries/a/x", "", ok, 400, `{"error":"invalid fencing token: missing`},
		{"malformed token", "POST", "/entries/a/x", "six", ok, 400, `{"error":"invalid fencing token`},
		{"no row", "POST", "/entries/", "6", ok, 400, `{"error":"missing row`},
		{"bad body", "POST", "/entries/a/x", "6", `{"value":`, 400, `{"error":"decode body`},
		{"two bodies", "POST", "/entries/a/x", "6", ok + ok, 400, `{"error":"decode body`},
		{"long body", "POST", "/entries/a/x", "6", `{"value":"` + strings.Repeat("x", maxBody) + `"}`, 400, `{"error":"decode body`},
		{"read", "GET", "/entries/a/x", "", "", 200, `{"value":"v","token":"6","seq":3}`},
		{"wrong method", "DELETE", "/entries/a/x", "6", "", 405, ``},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequest(tt.method, server.URL+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if tt.token != "" {
				req.Header.Set(TokenHeader, tt.token)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			got, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.status || !strings.HasPrefix(string(got), tt.want) {
				t.Errorf("status %d, body %s", resp.StatusCode, got)
			}
		})
	}
}

func TestTwoTokensAreRefused(t *testing.T) {
	l := open(t, t.TempDir(), Ordered)
	req := httptest.NewRequest("POST", "/entries/r", strings.NewReader(`{}`))
	req.Header.Add(TokenHeader, "1")
	req.Header.Add(TokenHeader, "9")
	w := httptest.NewRecorder()
	l.ServeHTTP(w, req)
	if w.Code != http.StatusBadRequest {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}
