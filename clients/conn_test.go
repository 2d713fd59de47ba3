package clients_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/history"
)

// peer is a client program made of strings: the test reads requests and prints
// what it likes.
type peer struct {
	*clients.Conn
	t        *testing.T
	requests *bufio.Scanner
	out      *io.PipeWriter
}

const hang = 2 * time.Minute // only a hang takes so long

func connect(t *testing.T, now func() time.Duration) *peer {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	if now == nil {
		began := time.Now()
		now = func() time.Duration { return time.Since(began) }
	}
	p := &peer{clients.NewConn(inW, outR, now), t, bufio.NewScanner(inR), outW}
	t.Cleanup(func() {
		p.Close()
		outW.Close()
		inR.Close()
	})
	return p
}

// request reads the next request.
func (p *peer) request() clients.Request {
	p.t.Helper()
	scanned := make(chan bool, 1)
	go func() { scanned <- p.requests.Scan() }()
	select {
	case ok := <-scanned:
		if !ok {
			p.t.Fatalf("no request: %v", p.requests.Err())
		}
	case <-time.After(hang):
		p.t.Fatalf("no request came: %v", p.Err())
	}
	var r clients.Request
	if err := json.Unmarshal(p.requests.Bytes(), &r); err != nil {
		p.t.Fatal(err)
	}
	return r
}

func (p *peer) say(format string, args ...any) {
	p.t.Helper()
	said := make(chan error, 1)
	go func() {
		_, err := fmt.Fprintf(p.out, format+"\n", args...)
		said <- err
	}()
	select {
	case err := <-said:
		if err != nil {
			p.t.Fatal(err)
		}
	case <-time.After(hang):
		p.t.Fatalf("nobody reads the client's output: %v", p.Err())
	}
}

// call sends a request and lets the peer answer it with a line in which %d is the id.
func (p *peer) call(req clients.Request, answer string) clients.Reply {
	p.t.Helper()
	done := p.start(req)
	r := p.request()
	p.say("%s", strings.ReplaceAll(answer, "%d", fmt.Sprint(r.ID)))
	return <-done
}

func (p *peer) start(req clients.Request) <-chan clients.Reply {
	done := make(chan clients.Reply, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), hang)
		defer cancel()
		done <- p.Do(ctx, req)
	}()
	return done
}

func TestOutcomes(t *testing.T) {
	p := connect(t, nil)
	acquire := clients.Request{Op: clients.OpAcquire, Key: "k"}
	r := p.call(acquire, `{"id":%d,"ok":{"token":{"id":"7","order":"7"},"ttl_ms":10000}}`)
	if r.Type != history.OK || !r.Answer.Token.Equal(history.OrderedToken(7)) || r.Answer.TTLms != 10000 || r.Returned < r.Invoked {
		t.Errorf("ok: %+v", r)
	}
	if r := p.call(acquire, `{"id":%d,"fail":{"code":"held","err":"by b"}}`); r.Type != history.Fail || r.Code != history.CodeHeld || r.Err != "by b" {
		t.Errorf("fail: %+v", r)
	}
	if r := p.call(acquire, `{"id":%d,"info":{"code":"timeout"}}`); r.Type != history.Info || r.Code != history.CodeTimeout {
		t.Errorf("info: %+v", r)
	}
	if err := p.Err(); err != nil {
		t.Error(err)
	}
}

func TestAnswersComeInAnyOrder(t *testing.T) {
	p := connect(t, nil)
	first := p.start(clients.Request{Op: clients.OpRead, Row: "one"})
	a := p.request()
	second := p.start(clients.Request{Op: clients.OpRead, Row: "two"})
	b := p.request()
	p.say(`{"id":%d,"ok":{"value":"2"}}`, b.ID)
	p.say(`{"id":%d,"ok":{"value":"1"}}`, a.ID)
	if r := <-first; r.Answer == nil || r.Answer.Value != "1" {
		t.Errorf("first: %+v", r)
	}
	if r := <-second; r.Answer == nil || r.Answer.Value != "2" {
		t.Errorf("second: %+v", r)
	}
}

func TestWhatIsNotTheProtocolEndsTheConnection(t *testing.T) {
	for name, line := range map[string]string{
		"garbage":                 "Listening on port 8080",
		"empty line":              "",
		"empty object":            "{}",
		"null":                    "null",
		"unknown id":              `{"id":99,"ok":{}}`,
		"no outcome":              `{"id":1}`,
		"two outcomes":            `{"id":1,"ok":{"token":{"id":"x"}},"fail":{"code":"held"}}`,
		"ok without token":        `{"id":1,"ok":{"ttl_ms":1000}}`,
		"ok with empty token":     `{"id":1,"ok":{"token":{}}}`,
		"token is no number":      `{"id":1,"ok":{"token":{"id":"x","order":"seven"}}}`,
		"fail without a code":     `{"id":1,"fail":{"err":"no"}}`,
		"fail timeout":            `{"id":1,"fail":{"code":"timeout"}}`,
		"unknown event":           `{"event":"bored"}`,
		"event with answer":       `{"event":"lost","id":1,"ok":{}}`,
		"since after at":          `{"event":"renewed","key":"k","at_ns":5,"since_ns":6}`,
		"negative ttl":            `{"event":"renewed","key":"k","ttl_ms":-1}`,
		"over-long line":          strings.Repeat("x", 1<<20+1),
		"over-long line, no end":  strings.Repeat("x", 1<<21),
		"a second value in there": `{"id":1,"info":{}} {}`,
	} {
		t.Run(name, func(t *testing.T) {
			p := connect(t, nil)
			pending := p.start(clients.Request{Op: clients.OpAcquire, Key: "k"})
			p.request()
			go fmt.Fprintln(p.out, line)
			if r := <-pending; r.Type != history.Info || r.Code != history.CodeExited || r.Err == "" {
				t.Errorf("pending call: %+v", r)
			}
			if r := <-p.start(clients.Request{Op: clients.OpStatus}); r.Type != history.Info || r.Code != history.CodeExited {
				t.Errorf("later call: %+v", r)
			}
			err := p.Err()
			if err == nil || !strings.Contains(err.Error(), "line 1 is not a client-protocol message: ") {
				t.Fatalf("Err: %v", err)
			}
			if len(err.Error()) > 600 {
				t.Errorf("Err has %d bytes", len(err.Error()))
			}
			select {
			case _, open := <-p.Events():
				if open {
					t.Error("an event from what is no message")
				}
			case <-time.After(hang):
				t.Error("events are not closed")
			}
		})
	}
}

func TestExit(t *testing.T) {
	p := connect(t, nil)
	pending := p.start(clients.Request{Op: clients.OpWrite, Row: "r"})
	p.request()
	p.out.Close()
	if r := <-pending; r.Type != history.Info || r.Code != history.CodeExited {
		t.Errorf("%+v", r)
	}
	if p.Err() == nil {
		t.Error("no error after the client's end")
	}
}

func TestHangIsInfoAndTheLateAnswerIsIgnored(t *testing.T) {
	p := connect(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan clients.Reply, 1)
	go func() { done <- p.Do(ctx, clients.Request{Op: clients.OpAcquire, Key: "k"}) }()
	late := p.request()
	cancel()
	// The client is told, for it may read although it does not answer.
	if r := p.request(); r.Op != clients.OpCancel || r.Target != late.ID {
		t.Errorf("after the timeout: %+v, want a cancel of %d", r, late.ID)
	}
	if r := <-done; r.Type != history.Info || r.Code != history.CodeTimeout {
		t.Errorf("%+v", r)
	}
	p.say(`{"id":%d,"ok":{"token":{"id":"x"}}}`, late.ID)
	if r := p.call(clients.Request{Op: clients.OpRead}, `{"id":%d,"ok":{"value":"v"}}`); r.Type != history.OK || r.Answer.Value != "v" {
		t.Errorf("after a late answer: %+v, %v", r, p.Err())
	}
}

// TestClientThatDoesNotRead: its stdin is full, and nobody waits for it.
func TestClientThatDoesNotRead(t *testing.T) {
	p := connect(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	for range 3 {
		if r := p.Do(ctx, clients.Request{Op: clients.OpStatus}); r.Type != history.Info || r.Code != history.CodeTimeout {
			t.Errorf("%+v", r)
		}
	}
	if took := time.Since(began); took > hang/2 {
		t.Errorf("took %s", took)
	}
}

func TestSinceIsNeverTooLate(t *testing.T) {
	var at time.Duration
	now := make(chan time.Duration, 100)
	p := connect(t, func() time.Duration {
		select {
		case at = <-now:
		default:
		}
		return at
	})
	// The client's clock is 1 h behind; answers take 40 ms and 2 ms.
	const offset = time.Hour
	step := func(invoked, stamped, returned time.Duration) {
		now <- invoked
		done := p.start(clients.Request{Op: clients.OpRead})
		r := p.request()
		now <- returned
		p.say(`{"id":%d,"ok":{},"at_ns":%d}`, r.ID, (stamped - offset).Nanoseconds())
		<-done
	}
	step(offset+1000*time.Millisecond, offset+1030*time.Millisecond, offset+1040*time.Millisecond)
	step(offset+2000*time.Millisecond, offset+2001*time.Millisecond, offset+2002*time.Millisecond)
	truth := offset + 2500*time.Millisecond
	now <- offset + 2600*time.Millisecond
	p.say(`{"event":"renewed","key":"k","ttl_ms":10000,"at_ns":%d,"since_ns":%d}`,
		(offset + 2550*time.Millisecond - offset).Nanoseconds(), (truth - offset).Nanoseconds())
	u := <-p.Events()
	if u.Event != clients.EventRenewed || u.Key != "k" || u.TTL != 10*time.Second || u.Since == nil {
		t.Fatalf("%+v", u)
	}
	if early := truth - *u.Since; early < 0 || early > 3*time.Millisecond {
		t.Errorf("since is %s before the truth, want 0 to 3 ms", early)
	}
}

func TestEventWithoutClockHasNoSince(t *testing.T) {
	p := connect(t, nil)
	p.call(clients.Request{Op: clients.OpRead}, `{"id":%d,"ok":{}}`)
	p.say(`{"event":"renewed","key":"k","ttl_ms":10000}`)
	p.say(`{"event":"renewed","key":"k","ttl_ms":10000,"since_ns":5}`)
	p.say(`{"event":"lost","key":"k"}`)
	for _, want := range []clients.Event{clients.EventRenewed, clients.EventRenewed, clients.EventLost} {
		if u := <-p.Events(); u.Event != want || u.Since != nil {
			t.Errorf("%+v, want %s without since", u, want)
		}
	}
}

// TestLastWords: a client that has ended reads no more, and what it said before that
// is the reason, although the failed write is noticed first.
func TestLastWords(t *testing.T) {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	c := clients.NewConn(inW, outR, func() time.Duration { return 0 })
	t.Cleanup(func() { _, _ = c.Close(), outW.Close() })
	replies := make(chan clients.Reply, 1)
	inR.CloseWithError(io.ErrClosedPipe)
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	go func() { replies <- c.Do(ctx, clients.Request{Op: clients.OpRead}) }()
	select { // the write has failed at once; it is not the last word
	case r := <-replies:
		t.Fatalf("answered before the client's words were read: %+v", r)
	case <-time.After(50 * time.Millisecond):
	}
	if _, err := io.WriteString(outW, "usage: billing [file]\n"); err != nil {
		t.Fatal(err)
	}
	if r := <-replies; r.Type != history.Info || !strings.Contains(r.Err, "usage: billing") {
		t.Errorf("%+v", r)
	}
}
