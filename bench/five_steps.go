package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockaudit/lockaudit/audit"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/record"
)

// fiveSteps measures what the audit itself adds to a trial of the five steps: the
// time from the moment the service reports the lease gone to the answer to A's
// stale write. Redis on loopback, so that the service adds little. The rest of the
// row is the trial as a whole beyond its lease.
func fiveSteps(ctx context.Context, n int) ([]row, error) {
	l, err := newLab(ctx)
	if err != nil {
		return nil, err
	}
	defer l.close()
	if err := l.build(ctx, "lockaudit"); err != nil {
		return nil, err
	}
	address, stop, err := l.redis(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	text := fmt.Appendf(nil, `
name: bench
lock: {backend: redis, endpoints: ["%[1]s"], key: k, ttl: 1s, options: {fencing_counter: true}}
resource: {kind: redis, endpoints: ["%[1]s"]}
probes: [pause-holder-past-ttl]
nodes: [{name: local, roles: [client], via: [env, "LOCKAUDIT_STATE=%[2]s"], agent: ["%[3]s"]}]
`, address, l.memory, l.exe)
	p, err := plan.Parse(text)
	if err != nil {
		return nil, err
	}
	dir, err := audit.Run(ctx, p, text, audit.Options{RunsDir: filepath.Join(l.dir, "runs"), Trials: 10 * n})
	if err != nil {
		return nil, err
	}
	run, err := record.Load(dir)
	if err != nil {
		return nil, err
	}
	var steps, whole []float64
	for trial := range 10 * n {
		events := history.Trial(run.Histories["pause-holder-past-ttl"], trial+1)
		s, w, err := beyondLease(events)
		if err != nil {
			return nil, fmt.Errorf("trial %d: %w", trial+1, err)
		}
		steps, whole = append(steps, s), append(whole, w)
	}
	return []row{
		{"lease gone at the service, to A's stale write answered", "median < 300", steps, "ms"},
		{"whole trial, less the 1 s lease", "", whole, "ms"},
	}, nil
}

func beyondLease(events []history.Event) (steps, whole float64, err error) {
	var free, stale time.Duration
	for _, e := range events {
		switch {
		case e.Op == history.OpObserve && e.Holder != nil && !e.Holder.Held:
			free = e.At
		case e.Op == history.OpWrite && e.Type != history.Invoke && e.Actor == "a":
			stale = e.At // the last one is the stale one
		}
	}
	if free == 0 || stale < free {
		return 0, 0, errors.New("the five steps are not all there")
	}
	return millis(stale - free), millis(events[len(events)-1].At-events[0].At) - 1000, nil
}

// build builds another of the project's programs beside the agent.
func (l *lab) build(ctx context.Context, name string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(l.dir, name), "github.com/lockaudit/lockaudit/cmd/"+name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w: %s", name, err, out)
	}
	return nil
}

// redis starts a real server on loopback.
func (l *lab) redis(ctx context.Context) (address string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	address = listener.Addr().String()
	_, port, err := net.SplitHostPort(address)
	if err := errors.Join(err, listener.Close()); err != nil {
		return "", nil, err
	}
	server := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", l.dir, "--save", "", "--appendonly", "no")
	if err := server.Start(); err != nil {
		return "", nil, fmt.Errorf("start redis-server: %w", err)
	}
	stop = func() { _, _ = server.Process.Kill(), server.Wait() }
	client := redis.NewClient(&redis.Options{Addr: address})
	defer client.Close()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); ; <-tick.C {
		err := client.Ping(ctx).Err()
		if err == nil {
			return address, stop, nil
		}
		if time.Now().After(deadline) {
			stop()
			return "", nil, fmt.Errorf("reach redis-server: %w", err)
		}
	}
}
