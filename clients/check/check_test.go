package check

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/locks/redis"
	"github.com/lockaudit/lockaudit/resources"
	httpresource "github.com/lockaudit/lockaudit/resources/http"
)

// brokenVar makes this test binary a lock client with one thing wrong; "none": nothing.
const brokenVar = "LOCKAUDIT_TEST_BROKEN"

func TestMain(m *testing.M) {
	if how := os.Getenv(brokenVar); how != "" {
		serveBroken(how)
		return
	}
	if servers.Child() {
		return
	}
	os.Exit(m.Run())
}

// between stands between the battery and a client that is right: what goes in and what
// comes out can be changed on its way.
type between struct {
	in  io.Writer
	out sync.Mutex
	// request returns what the client gets; nil: nothing. message likewise.
	request func(clients.Request) *clients.Request
	message func(clients.Message) *clients.Message

	mu  sync.Mutex
	ops map[int]clients.Request
}

func (b *between) say(m clients.Message) {
	b.out.Lock()
	defer b.out.Unlock()
	line, _ := json.Marshal(m)
	fmt.Println(string(line))
}

func (b *between) forward(r clients.Request) {
	line, _ := json.Marshal(r)
	_, _ = b.in.Write(append(line, '\n'))
}

func (b *between) op(id int) clients.Op {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ops[id].Op
}

// serveBroken is the built-in Redis client, broken in the way that has this name.
func serveBroken(how string) {
	toClient, in := io.Pipe()
	out, fromClient := io.Pipe()
	b := &between{
		in: in, ops: map[int]clients.Request{},
		request: func(r clients.Request) *clients.Request { return &r },
		message: func(m clients.Message) *clients.Message { return &m },
	}
	linger := breakIt(how, b)
	go func() {
		_ = clients.Serve(context.Background(), toClient, fromClient, clients.ServeOptions{
			Name: how, Locks: []locks.Driver{redis.Driver{}}, Resources: []resources.Kind{httpresource.Kind{}},
		})
		if linger {
			select {}
		}
		os.Exit(0)
	}()
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var m clients.Message
			_ = json.Unmarshal(lines.Bytes(), &m)
			if changed := b.message(m); changed != nil {
				b.say(*changed)
			}
		}
	}()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var r clients.Request
		_ = json.Unmarshal(lines.Bytes(), &r)
		b.mu.Lock()
		b.ops[r.ID] = r
		b.mu.Unlock()
		if changed := b.request(r); changed != nil {
			b.forward(*changed)
		}
	}
	_ = in.Close()
	select {} // until Serve has ended
}

// battery runs one check, the introduction before it, against a broken client.
func battery(t *testing.T, name, how string) error {
	t.Helper()
	server := servers.StartRedis(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{run: "test", o: Options{
		Argv: []string{exe}, Env: []string{brokenVar + "=" + how}, Log: file,
		Target: locks.Target{Backend: "redis", Endpoints: []string{server.Endpoint}, Key: "/check", TTL: time.Second},
	}}
	t.Cleanup(func() {
		b.close()
		if data, _ := os.ReadFile(file.Name()); t.Failed() && len(data) > 0 {
			t.Logf("its log: %s", data)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	for i, c := range checks() {
		if c.name == name || i == 0 {
			if err := c.run(ctx, b); c.name == name || err != nil {
				return err
			}
		}
	}
	t.Fatalf("no check %q", name)
	return nil
}

// TestBatteryFailsBrokenClients: a battery that passes everybody is worth nothing.
func TestBatteryFailsBrokenClients(t *testing.T) {
	t.Parallel()
	covered := map[string]bool{}
	// Most of them wait for most of the time: more at once than there are processors.
	var all sync.WaitGroup
	turn := make(chan struct{}, 8)
	for _, c := range brokenClients() {
		covered[c.check] = true
		all.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			t.Run(c.how, func(t *testing.T) {
				// A machine that stands still for seconds has other reasons to complain first.
				var err error
				for range 3 {
					if err = battery(t, c.check, c.how); err != nil && strings.Contains(err.Error(), c.says) {
						return
					}
				}
				t.Errorf("the check %q says %v, want an error with %q", c.check, err, c.says)
			})
		})
	}
	all.Wait()
	for _, c := range checks() {
		if !covered[c.name] {
			t.Errorf("no broken client for the check %q", c.name)
		}
	}
}

// TestBatteryPassesTheBuiltIn: the same client with nothing broken.
func TestBatteryPassesTheBuiltIn(t *testing.T) {
	t.Parallel()
	server := servers.StartRedis(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var bad []string
	for range 3 { // for the same reason
		report, err := Run(t.Context(), Options{
			Argv: []string{exe}, Env: []string{brokenVar + "=none"}, Log: os.Stderr,
			Target: locks.Target{Backend: "redis", Endpoints: []string{server.Endpoint}, Key: "/check", TTL: 2 * time.Second},
		})
		if err != nil {
			t.Fatal(err)
		}
		bad = nil
		for _, r := range report.Results {
			if r.Outcome != Right {
				bad = append(bad, fmt.Sprintf("%s: %s: %s", r.Check, r.Outcome, r.Words))
			}
		}
		if len(bad) == 0 {
			return
		}
	}
	t.Error(strings.Join(bad, "\n"))
}

// TestWhatCannotBeStarted is no verdict on a client.
func TestWhatCannotBeStarted(t *testing.T) {
	_, err := Run(t.Context(), Options{Argv: []string{"/nowhere/client"}, Log: os.Stderr})
	if err == nil || !strings.Contains(err.Error(), "cannot be started") {
		t.Errorf("got %v", err)
	}
}
