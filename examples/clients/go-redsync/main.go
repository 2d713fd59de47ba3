// Command lockclient is a lock client for lockaudit on redsync, go-redis and an HTTP
// resource. docs/clients.md walks through the protocol: replace lock.go by your own
// library, and keep the rest.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"sync"
	"time"
)

// Request is one line of stdin.
type Request struct {
	ID       int       `json:"id"`
	Op       string    `json:"op"`
	Version  int       `json:"version"`
	Lock     *Target   `json:"lock"`
	Resource *Resource `json:"resource"`
	Key      string    `json:"key"`
	TTL      int64     `json:"ttl_ms"`
	Wait     int64     `json:"wait_ms"`
	Row      string    `json:"row"`
	Token    Token     `json:"token"`
	RawToken string    `json:"raw_token"`
	Value    string    `json:"value"`
	OpID     string    `json:"op_id"`
	Target   int       `json:"target"`
}

// Token names one hold. redsync's are random: they have no order, and cannot fence.
type Token struct {
	ID    string `json:"id"`
	Order string `json:"order,omitempty"`
}

// Message is one line of stdout: exactly one of ok, fail and info.
type Message struct {
	ID   int      `json:"id"`
	OK   any      `json:"ok,omitempty"`
	Fail *Failure `json:"fail,omitempty"`
	Info *Failure `json:"info,omitempty"`
	AtNs int64    `json:"at_ns"`
}

// Failure has the words, and for a fail the code.
type Failure struct {
	Code string `json:"code,omitempty"`
	Err  string `json:"err"`
}

// Fail is an error that says: it certainly did not happen. Every other error becomes info.
type Fail struct{ Code, Words string } // held, lost, stale or refused

func (f Fail) Error() string { return f.Words }

func refused(format string, args ...any) error { return Fail{"refused", fmt.Sprintf(format, args...)} }

type client struct {
	began    time.Time
	lock     *Lock
	resource *Resource

	mu      sync.Mutex
	cancels map[int]context.CancelFunc
	out     sync.Mutex
}

func main() {
	log.SetOutput(os.Stderr) // the log; anything but a message on stdout ends the connection
	log.Print("lock client starts")
	c := &client{began: time.Now(), cancels: map[int]context.CancelFunc{}}
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			if !errors.Is(err, io.EOF) {
				log.Print(err)
			}
			return // stdin has ended: leave at once, and release nothing
		}
		var r Request
		if err := json.Unmarshal(line, &r); err != nil {
			log.Print(err)
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		switch r.Op {
		case "cancel":
			c.mu.Lock()
			if stop := c.cancels[r.Target]; stop != nil {
				stop()
			}
			c.mu.Unlock()
			c.say(Message{ID: r.ID, OK: struct{}{}})
		case "init":
			c.answer(ctx, r) // nothing may overtake it
		default:
			c.mu.Lock()
			c.cancels[r.ID] = cancel
			c.mu.Unlock()
			go c.answer(ctx, r)
		}
	}
}

// answer gives every request exactly one outcome. When in doubt, info.
func (c *client) answer(ctx context.Context, r Request) {
	m := Message{ID: r.ID}
	ok, err := c.do(ctx, r)
	var fail Fail
	switch {
	case err == nil:
		m.OK = ok
	case errors.As(err, &fail):
		m.Fail = &Failure{fail.Code, fail.Words}
	default: // timeout, broken connection, a bug: nobody knows
		m.Info = &Failure{Err: r.Op + ": " + err.Error()}
	}
	c.mu.Lock()
	delete(c.cancels, r.ID)
	c.mu.Unlock()
	c.say(m)
}

func (c *client) say(m Message) {
	c.out.Lock()
	defer c.out.Unlock()
	m.AtNs = int64(time.Since(c.began)) + 1
	if err := json.NewEncoder(os.Stdout).Encode(m); err != nil {
		log.Fatal(err)
	}
}

type object = map[string]any

func (c *client) do(ctx context.Context, r Request) (any, error) {
	if c.lock == nil && r.Op != "init" {
		return nil, refused("%s before init", r.Op)
	}
	switch r.Op {
	case "init":
		if r.Version != 1 || r.Lock == nil {
			return nil, refused("only version 1 is spoken, and a lock is needed")
		}
		if r.Resource != nil && r.Resource.Kind != "http" {
			return nil, refused("resource.kind: only http is known here")
		}
		lock, err := Open(ctx, *r.Lock)
		if err != nil {
			return nil, err
		}
		c.lock, c.resource = lock, r.Resource
		return object{"version": 1, "name": "go redsync example", "capabilities": []string{"renew", "owner-check", "observe"}}, nil
	case "acquire":
		token, err := c.lock.Acquire(ctx, r.Key, ms(r.TTL), ms(r.Wait))
		return object{"token": Token{ID: token}, "ttl_ms": r.TTL}, err
	case "renew":
		ttl, err := c.lock.Renew(ctx, r.Key, r.Token.ID)
		return object{"ttl_ms": ttl.Milliseconds()}, err
	case "release":
		return object{}, c.lock.Release(ctx, r.Key, r.Token.ID)
	case "status":
		return object{"holding": c.lock.Holding(r.Key)}, nil
	case "observe":
		holder, err := c.lock.Observe(ctx, r.Key)
		return object{"holder": holder}, err
	case "write", "read":
		if c.resource == nil {
			return nil, refused("init named no resource")
		}
		if r.Op == "read" {
			return c.resource.Read(ctx, r.Row)
		}
		seq, err := c.resource.Write(ctx, r)
		return object{"seq": seq}, err
	}
	return nil, refused("unknown op %q", r.Op)
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
