package measure

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// take runs a measurement the way the agent does, through JSON both ways.
func take[R any](t *testing.T, kind Kind, params any) (R, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	raw, err := json.Marshal(params)
	if err != nil {
		t.Fatal(err)
	}
	var out R
	result, err := Run(ctx, kind, raw)
	if err == nil {
		err = json.Unmarshal(result, &out)
	}
	return out, err
}

func mustTake[R any](t *testing.T, kind Kind, params any) R {
	t.Helper()
	out, err := take[R](t, kind, params)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestConnectsAndLiveSocketsOfBothFamilies(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l := listen(t, "tcp", address)
		peer := l.Addr().String()

		s := mustTake[history.Sample](t, KindRTT, RTT{Peer: peer, Count: 10})
		if s.Count != 10 || s.Max <= 0 || s.Peer != peer || s.Unit != history.Nanoseconds || len(s.Notes) != 0 {
			t.Errorf("connects to %s: %+v", peer, s)
		}
		if time.Duration(s.Max) > 10*time.Second {
			t.Errorf("a connect on loopback took %s", time.Duration(s.Max))
		}

		if s := mustTake[history.Sample](t, KindSockets, Sockets{Peer: peer}); s.Count != 0 {
			t.Errorf("%d live connections to %s, nobody has one: %+v", s.Count, peer, s)
		}
		c, err := net.Dial("tcp", peer)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s = mustTake[history.Sample](t, KindSockets, Sockets{Peer: peer})
		if s.Count != 1 || s.Max <= 0 || s.Source != "tcp_info" || len(s.Notes) != 1 {
			t.Errorf("one live connection to %s: %+v", peer, s)
		}
		// The same port of another address is another peer.
		host, port, _ := net.SplitHostPort(peer)
		elsewhere := map[string]string{"127.0.0.1": "127.0.0.2", "::1": "127.0.0.1"}[host]
		if s := mustTake[history.Sample](t, KindSockets, Sockets{Peer: net.JoinHostPort(elsewhere, port)}); s.Count != 0 {
			t.Errorf("the connection to %s was taken for one to %s", peer, elsewhere)
		}
		other := listen(t, "tcp", address)
		if s := mustTake[history.Sample](t, KindSockets, Sockets{Peer: other.Addr().String()}); s.Count != 0 {
			t.Errorf("the connection to %s was taken for one to %s", peer, other.Addr())
		}
	}
}

func TestConnectsToNobody(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	peer := l.Addr().String()
	l.Close()
	s := mustTake[history.Sample](t, KindRTT, RTT{Peer: peer, Count: 10})
	if s.Count != 0 || len(s.Notes) != 1 || !strings.Contains(s.Notes[0], "3 of 3 connects failed") || !strings.Contains(s.Notes[0], "refused") {
		t.Errorf("%+v", s)
	}
}

// TestPausesSeesAStoppedProcess stops a real process in the middle of measuring,
// which the meter must report in full.
func TestPausesSeesAStoppedProcess(t *testing.T) {
	if out := os.Getenv("LOCKAUDIT_TEST_METER"); out != "" {
		err := os.WriteFile(out+".begun", nil, 0o600)
		var raw json.RawMessage
		if err == nil {
			raw, err = Run(context.Background(), KindPauses, json.RawMessage(`{"for":3000000000}`))
		}
		if err == nil {
			err = os.WriteFile(out, raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	out := filepath.Join(t.TempDir(), "sample.json")
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestPausesSeesAStoppedProcess$")
	cmd.Env = append(os.Environ(), "LOCKAUDIT_TEST_METER="+out)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	const stop = time.Second
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(out + ".begun"); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the meter did not begin within 2 minutes")
		}
	}
	time.Sleep(200 * time.Millisecond) // well inside the 3 s of measuring
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(stop)
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var s history.Sample
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	if max := time.Duration(s.Max); max < stop-5*time.Millisecond {
		t.Errorf("the longest gap is %s, the process was stopped for %s", max, stop)
	}
	// One stop is one observation.
	if q := s.Quantile(0.9); q > stop/4 {
		t.Errorf("a tenth of all gaps is longer than %s: the stop was counted more than once", q)
	}
	if s.Over != 3*time.Second || s.Count < 100 || len(s.Notes) != 3 {
		t.Errorf("%+v", s)
	}
}

func TestPausesEndsWithItsOrder(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := Run(ctx, KindPauses, json.RawMessage(`{"for":60000000000}`))
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 20*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}

func TestFetch(t *testing.T) {
	const text = "# TYPE a counter\na 1\n"
	redirected := false
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "u" || password != "s3cret" || !strings.HasPrefix(r.Header.Get("Accept"), "text/plain") {
			t.Errorf("request %+v", r)
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		io.WriteString(w, text)
	})
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) })
	mux.HandleFunc("/elsewhere", func(http.ResponseWriter, *http.Request) { redirected = true })
	mux.HandleFunc("/huge", func(w http.ResponseWriter, r *http.Request) { io.CopyN(w, zeros{}, maxPage+10) })
	server := httptest.NewServer(mux)
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")

	page := mustTake[Page](t, KindFetch, Fetch{URL: "http://u:s3cret@" + address + "/metrics"})
	body, err := page.Text()
	if err != nil || string(body) != text || page.Status != 200 || !strings.HasPrefix(page.ContentType, "text/plain") {
		t.Errorf("%q %v %+v", body, err, page)
	}
	if page := mustTake[Page](t, KindFetch, Fetch{URL: server.URL + "/away"}); page.Status != http.StatusFound || redirected {
		t.Errorf("status %d, redirect followed: %v", page.Status, redirected)
	}
	if _, err := take[Page](t, KindFetch, Fetch{URL: server.URL + "/huge"}); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("huge page: %v", err)
	}
	server.Close()
	_, err = take[Page](t, KindFetch, Fetch{URL: "http://u:s3cret@" + address + "/metrics"})
	if err == nil || !strings.Contains(err.Error(), "refused") || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "Get ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("nobody listens: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

func TestParamsAreChecked(t *testing.T) {
	for _, tt := range []struct {
		kind   Kind
		params string
	}{
		{"dance", `{}`},
		{KindPauses, `{"for":0}`}, {KindPauses, `{"for":3600000000000}`}, {KindPauses, `[`},
		{KindRTT, `{"peer":"127.0.0.1:1","count":0}`}, {KindRTT, `{"peer":"127.0.0.1:1","count":100000}`}, {KindRTT, `{"peer":"x","count":1}`},
		{KindSockets, `{"peer":"x"}`}, {KindSockets, `{"peer":"127.0.0.1:http"}`},
		{KindFetch, `{"url":"file:///etc/shadow"}`}, {KindFetch, `{"url":"http://"}`},
		{KindLog, `{"file":"relative"}`}, {KindLog, `{"file":"/dev/null"}`}, {KindLog, `{"file":"/etc/passwd","from":"1:2"}`}, {KindLog, `{"file":"/etc/passwd","from":"1:2:-3"}`},
	} {
		if _, err := Run(context.Background(), tt.kind, json.RawMessage(tt.params)); !errors.Is(err, ErrParams) {
			t.Errorf("%s %s: %v", tt.kind, tt.params, err)
		}
	}
}
