package tap_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/lab/ledger"
	"github.com/lockaudit/lockaudit/tap"
)

// record is a writer that tests may read meanwhile.
type record struct {
	mu  sync.Mutex
	b   bytes.Buffer
	err error
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return 0, r.err
	}
	return r.b.Write(p)
}

func (r *record) lines(t *testing.T) (out []tap.Line) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := bufio.NewScanner(bytes.NewReader(r.b.Bytes())); s.Scan(); {
		var l tap.Line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		out = append(out, l)
	}
	return out
}

func start(t *testing.T, resource http.Handler, o tap.Options) (base string, r *record) {
	t.Helper()
	behind := httptest.NewServer(resource)
	t.Cleanup(behind.Close)
	var err error
	if o.To, err = url.Parse(behind.URL); err != nil {
		t.Fatal(err)
	}
	o.TokenHeader = "X-Fencing-Token"
	r = &record{}
	front := httptest.NewServer(tap.New(o, r))
	t.Cleanup(front.Close)
	return front.URL, r
}

func send(t *testing.T, method, url, token, body string) (status int, answer string) {
	t.Helper()
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Fencing-Token", token)
	got, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	b, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return got.StatusCode, string(b)
}

// TestTap: a real ledger behind the tap is what it is without it, and the record has the
// order and the tokens, and no body and no query.
func TestTap(t *testing.T) {
	l, err := ledger.Open(t.TempDir(), ledger.Ordered)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	base, r := start(t, l, tap.Options{})
	for _, c := range []struct {
		method, token string
		want          int
	}{{"POST", "7", 200}, {"POST", "6", 409}, {"GET", "", 200}, {"POST", "8", 200}} {
		if got, answer := send(t, c.method, base+"/entries/x/y?key=secret", c.token, `{"value":"private"}`); got != c.want {
			t.Errorf("%s with token %s: %d %s, want %d", c.method, c.token, got, answer, c.want)
		}
	}
	lines := r.lines(t)
	if len(lines) != 4 {
		t.Fatalf("%d lines: %+v", len(lines), lines)
	}
	for i, want := range []tap.Line{{Token: "7", Status: 200}, {Token: "6", Status: 409}, {Status: 200}, {Token: "8", Status: 200}} {
		got := lines[i]
		if got.Seq != uint64(i+1) || got.Token != want.Token || got.Status != want.Status || got.Path != "/entries/x/y" || !strings.HasPrefix(got.From, "127.0.0.1:") {
			t.Errorf("line %d: %+v", i, got)
		}
	}
	if text := r.b.String(); strings.Contains(text, "secret") || strings.Contains(text, "private") {
		t.Errorf("the record says too much: %s", text)
	}
}

// TestTapOrder: many writes at once go through one by one, and the numbers are the order
// in which the resource had them.
func TestTapOrder(t *testing.T) {
	var inside, most atomic.Int32
	var mu sync.Mutex
	var order []string
	base, r := start(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if n := inside.Add(1); n > most.Load() {
			most.Store(n)
		}
		mu.Lock()
		order = append(order, q.Header.Get("X-Fencing-Token"))
		mu.Unlock()
		time.Sleep(time.Millisecond)
		inside.Add(-1)
	}), tap.Options{})
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() { send(t, "PUT", base+"/", string(rune('a'+i)), "") })
	}
	all.Wait()
	lines := r.lines(t)
	if most.Load() != 1 || len(lines) != 20 {
		t.Fatalf("%d writes at once, %d lines", most.Load(), len(lines))
	}
	for _, l := range lines {
		if order[l.Seq-1] != l.Token {
			t.Errorf("number %d is %s, the resource had %s", l.Seq, l.Token, order[l.Seq-1])
		}
	}
}

// TestTapHoldsAndRefuses: while the files are there, and not longer; what it refuses the
// resource never sees.
func TestTapHoldsAndRefuses(t *testing.T) {
	hold, refuse := filepath.Join(t.TempDir(), "hold"), filepath.Join(t.TempDir(), "refuse")
	var seen atomic.Int32
	base, r := start(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { seen.Add(1) }), tap.Options{HoldWhile: hold, RefuseWhile: refuse})
	touch := func(file string) {
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	touch(hold)
	done := make(chan int, 1)
	go func() {
		status, _ := send(t, "POST", base, "1", "")
		done <- status
	}()
	if status, _ := send(t, "GET", base, "", ""); status != 200 { // the write is under way by then, or held when it comes
		t.Errorf("a read is held too: %d", status)
	}
	if n := seen.Load(); n != 1 {
		t.Errorf("the resource saw %d requests, want the read alone", n)
	}
	if err := os.Remove(hold); err != nil {
		t.Fatal(err)
	}
	if status := <-done; status != 200 || seen.Load() != 2 {
		t.Errorf("after the hold: %d, the resource saw %d", status, seen.Load())
	}
	touch(refuse)
	if status, _ := send(t, "POST", base, "2", ""); status != 503 || seen.Load() != 2 {
		t.Errorf("refused: %d, the resource saw %d", status, seen.Load())
	}
	lines := r.lines(t)
	if last := lines[len(lines)-1]; !last.Refused || last.Token != "2" {
		t.Errorf("%+v", last)
	}
}

// TestTapOfNobody: nobody knows what became of a write to a resource that is gone; and
// without a record nothing is let through.
func TestTapOfNobody(t *testing.T) {
	var seen atomic.Int32
	base, r := start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		seen.Add(1)
		panic(http.ErrAbortHandler) // the connection breaks before an answer
	}), tap.Options{})
	if status, _ := send(t, "POST", base, "1", "x"); status != 502 {
		t.Errorf("status %d", status)
	}
	if lines := r.lines(t); len(lines) != 1 || lines[0].Status != 0 || seen.Load() != 1 {
		t.Errorf("%+v, the resource saw %d", lines, seen.Load())
	}
	r.mu.Lock()
	r.err = errors.New("disk full")
	r.mu.Unlock()
	send(t, "POST", base, "2", "")
	before := seen.Load()
	if status, _ := send(t, "POST", base, "3", ""); status != 503 || seen.Load() != before {
		t.Errorf("without a record: %d, the resource saw %d more", status, seen.Load()-before)
	}
}
