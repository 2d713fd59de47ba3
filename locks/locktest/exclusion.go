package locktest

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/history"
)

const (
	processes = 8
	contest   = 4 * time.Second // how long they compete
	fewest    = 20              // grants, for the result to mean anything
)

// span is one hold on this process's clock: certainly held from the acquire's
// return to the release's invocation.
type span struct {
	from, to time.Duration
	token    history.Token
}

// mutualExclusion lets processes compete for one key through the client protocol
// and looks for two holds at one time, and for a token below an earlier hold's.
func mutualExclusion(ctx context.Context, b *bench) error {
	began := time.Now()
	now := func() time.Duration { return time.Since(began) }
	key := b.key()
	var (
		mu     sync.Mutex
		spans  []span
		grants atomic.Int64
		errs   []error
		all    sync.WaitGroup
	)
	for range processes {
		all.Go(func() {
			mine, err := compete(ctx, b, key, now, &grants)
			mu.Lock()
			defer mu.Unlock()
			spans, errs = append(spans, mine...), append(errs, err)
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return exclusive(spans)
}

// exclusive judges the holds.
func exclusive(spans []span) error {
	if len(spans) < fewest {
		return fmt.Errorf("only %d grants in %s: nothing was tested", len(spans), contest)
	}
	slices.SortFunc(spans, func(x, y span) int { return int(x.from - y.from) })
	var highest *big.Int
	for i, s := range spans {
		if i > 0 && s.from < spans[i-1].to {
			return fmt.Errorf("two holds at one time: token %s until %s, token %s from %s", spans[i-1].token, spans[i-1].to, s.token, s.from)
		}
		if order := s.token.Order; order != nil {
			if highest != nil && order.Cmp(highest) <= 0 {
				return fmt.Errorf("token %s was granted after token %s", order, highest)
			}
			highest = order
		}
	}
	return nil
}

// compete runs one client process for the contest.
func compete(ctx context.Context, b *bench, key string, now func() time.Duration, grants *atomic.Int64) (spans []span, err error) {
	conn, stop, err := spawn(ctx, now)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	target := b.target
	hello := conn.Do(ctx, clients.Request{Op: clients.OpInit, Version: clients.Version, Lock: &target})
	if hello.Type != history.OK {
		return nil, fmt.Errorf("client process: init: %s %s", hello.Type, hello.Err)
	}
	// A lease far longer than the contest: no hold ends by itself.
	const ttl = 60_000
	end := now() + contest
	for now() < end || grants.Load() < fewest && now() < end+10*contest {
		got := conn.Do(ctx, clients.Request{Op: clients.OpAcquire, Key: key, TTLms: ttl, WaitMs: 20_000})
		if got.Type == history.Fail && got.Code == history.CodeHeld {
			continue
		}
		if got.Type != history.OK {
			return spans, fmt.Errorf("client process: acquire: %s %s %s", got.Type, got.Code, got.Err)
		}
		hold := time.NewTimer(2 * time.Millisecond)
		<-hold.C
		gone := conn.Do(ctx, clients.Request{Op: clients.OpRelease, Key: key, Token: got.Answer.Token})
		if gone.Type != history.OK {
			return spans, fmt.Errorf("client process: release: %s %s %s", gone.Type, gone.Code, gone.Err)
		}
		grants.Add(1)
		spans = append(spans, span{from: got.Returned, to: gone.Invoked, token: *got.Answer.Token})
	}
	return spans, nil
}

// spawn runs the test binary again as a lock client; see Child.
func spawn(ctx context.Context, now func() time.Duration) (*clients.Conn, func() error, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), clientVar+"=1")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	conn := clients.NewConn(stdin, stdout, now)
	return conn, func() error {
		closed := conn.Close()
		for range conn.Events() { // until its output has ended
		}
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("client process: %w", err)
		}
		return closed
	}, nil
}
