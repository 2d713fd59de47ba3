package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/crash"
	"github.com/lockaudit/lockaudit/inject/target"
)

// crashEnds measures how long a killed Redis takes to take connections again: when
// agent and guard are killed, when an order asks for it, and when the dead ones have
// left it to the next agent's start, as a fault without a standby would. How long a
// Redis takes that is started by hand is part of each.
func crashEnds(ctx context.Context, n int) ([]row, error) {
	l, err := newLab(ctx)
	if err != nil {
		return nil, err
	}
	defer l.close()
	rows := []row{
		{"kill -9 of agent and guard, server listens", "p99 < 500", nil, "ms"},
		{"the same, by the next agent's start (no standby)", "", nil, "ms"},
		{"order to kill and restart, server listens", "", nil, "ms"},
		{"redis-server started by hand, listens", "", nil, "ms"},
	}
	for range 20 * n {
		for i, measure := range []func(context.Context, *redisServer) (float64, error){l.crashKillBoth, l.crashNextAgent, l.crashOrder, redisByHand} {
			r, err := startRedis(ctx)
			if err != nil {
				return nil, err
			}
			ms, err := measure(ctx, r)
			if err = errors.Join(err, r.end(ctx)); err != nil {
				return nil, err
			}
			rows[i].values = append(rows[i].values, ms)
		}
	}
	return rows, nil
}

// redisServer is a real redis-server on loopback.
type redisServer struct {
	addr string
	port int
	argv []string
}

func startRedis(ctx context.Context) (*redisServer, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	r := &redisServer{addr: l.Addr().String(), port: port, argv: []string{
		path, "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--save", "", "--dir", "/",
	}}
	if err := errors.Join(l.Close(), r.start()); err != nil {
		return nil, err
	}
	return r, r.awaitListening(ctx)
}

func (r *redisServer) start() error {
	cmd := exec.Command(r.argv[0], r.argv[1:]...)
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // it is killed
	return nil
}

func (r *redisServer) awaitListening(ctx context.Context) error {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && ctx.Err() == nil; {
		if c, err := net.Dial("tcp", r.addr); err == nil {
			return c.Close()
		}
		time.Sleep(200 * time.Microsecond)
	}
	return fmt.Errorf("redis-server does not listen on %s", r.addr)
}

// end kills whichever process serves now.
func (r *redisServer) end(ctx context.Context) error {
	t, err := target.Resolve(ctx, target.Selector{Port: r.port})
	if errors.Is(err, target.ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	return syscall.Kill(t.PID, syscall.SIGKILL)
}

func (r *redisServer) spec(down time.Duration) (inject.Spec, error) {
	params, err := json.Marshal(crash.Params{Target: target.Selector{Port: r.port}, DownFor: down, Restart: &crash.Restart{Argv: r.argv}})
	return inject.Spec{Kind: crash.Kind, For: time.Minute, Patience: 10 * time.Second, Params: params}, err
}

// down kills the server by an agent that leaves it down.
func (r *redisServer) down(ctx context.Context, l *lab) (*agent.Conn, string, error) {
	s, err := r.spec(time.Minute)
	if err != nil {
		return nil, "", err
	}
	c, err := agent.Dial(ctx, agent.Command{Argv: []string{l.exe, "--allow-commands"}, Env: []string{"LOCKAUDIT_STATE=" + l.memory}}, nil)
	if err != nil {
		return nil, "", err
	}
	f, err := c.Inject(ctx, s)
	return c, f.ID, err
}

// listening is how long act and the server's start take together.
func (r *redisServer) listening(ctx context.Context, act func() error) (float64, error) {
	start := time.Now()
	if err := act(); err != nil {
		return 0, err
	}
	err := r.awaitListening(ctx)
	return float64(time.Since(start)) / float64(time.Millisecond), err
}

func killAgent(c *agent.Conn) error {
	h := c.Hello()
	return errors.Join(syscall.Kill(h.GuardPID, syscall.SIGKILL), syscall.Kill(h.PID, syscall.SIGKILL))
}

func (l *lab) crashKillBoth(ctx context.Context, r *redisServer) (float64, error) {
	c, _, err := r.down(ctx, l)
	if err != nil {
		return 0, err
	}
	ms, err := r.listening(ctx, func() error { return killAgent(c) })
	_ = c.Close() // its error is that we killed it
	return ms, errors.Join(err, l.healed(ctx))
}

// crashNextAgent has the standby killed too, so that only the journal is left.
func (l *lab) crashNextAgent(ctx context.Context, r *redisServer) (float64, error) {
	c, id, err := r.down(ctx, l)
	if err != nil {
		return 0, err
	}
	standby, err := target.Resolve(ctx, target.Selector{Cmdline: target.Cmdline{Joined: "lockaudit-standby " + id}})
	if err != nil {
		return 0, err
	}
	if err := errors.Join(syscall.Kill(standby.PID, syscall.SIGKILL), killAgent(c)); err != nil {
		return 0, err
	}
	_ = c.Close() // its error is that we killed it
	return r.listening(ctx, func() error { return l.healed(ctx) })
}

func (l *lab) crashOrder(ctx context.Context, r *redisServer) (float64, error) {
	s, err := r.spec(0)
	if err != nil {
		return 0, err
	}
	c, err := agent.Dial(ctx, agent.Command{Argv: []string{l.exe, "--allow-commands"}, Env: []string{"LOCKAUDIT_STATE=" + l.memory}}, nil)
	if err != nil {
		return 0, err
	}
	ms, err := r.listening(ctx, func() error { _, err := c.Inject(ctx, s); return err })
	return ms, errors.Join(err, c.Close())
}

func redisByHand(ctx context.Context, r *redisServer) (float64, error) {
	if err := r.end(ctx); err != nil {
		return 0, err
	}
	for { // until its port is free
		l, err := net.Listen("tcp", r.addr)
		if err == nil {
			if err := l.Close(); err != nil {
				return 0, err
			}
			break
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	return r.listening(ctx, r.start)
}

// healed runs the agent's heal.
func (l *lab) healed(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, l.exe, "heal")
	cmd.Env = append(os.Environ(), "LOCKAUDIT_STATE="+l.memory)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("heal: %w: %s", err, out)
	}
	return nil
}
