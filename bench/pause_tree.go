package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/pause"
)

// pauseTree stops trees through the agent, by every method, and by a shell's loop.
func pauseTree(ctx context.Context, n int) ([]row, error) {
	l, err := newLab(ctx)
	if err != nil {
		return nil, err
	}
	defer l.close()
	c, err := l.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var rows []row
	for _, size := range []int{1, 100, 1000} {
		more, err := pauseTreeOf(ctx, c, size, n)
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// pauseTreeOf stops one tree by each way in turns, so that they share what else the
// machine does.
func pauseTreeOf(ctx context.Context, c *agent.Conn, size, n int) ([]row, error) {
	t, err := newTree(size)
	if err != nil {
		return nil, err
	}
	defer t.close()
	many := size == 1000
	ways := []struct {
		method, what, order, apart string
		total, between             []float64
	}{
		{method: pause.MethodFreezer, what: "freezer", order: when(many, "median < 10"), apart: when(many, "median < 10")},
		{method: pause.MethodSIGSTOP, what: "SIGSTOP"},
		{what: "alternative: a shell's loop of kill"},
		{method: pause.MethodPtrace, what: "ptrace"},
	}
	for range 10 * n {
		for i := range ways {
			w := &ways[i]
			took, _, err := t.stopOnce(ctx, c, w.method, rarely)
			if err != nil {
				return nil, err
			}
			_, apart, err := t.stopOnce(ctx, c, w.method, exactly)
			if err != nil {
				return nil, err
			}
			w.total, w.between = append(w.total, millis(took)), append(w.between, millis(apart))
		}
	}
	var rows []row
	for _, w := range ways {
		rows = append(rows, row{fmt.Sprintf("%d, order until all are seen stopped: %s", size, w.what), w.order, w.total, "ms"})
	}
	for _, w := range ways {
		if size > 1 {
			rows = append(rows, row{fmt.Sprintf("%d, first stopped to last stopped: %s", size, w.what), w.apart, w.between, "ms"})
		}
	}
	return rows, nil
}

func when(yes bool, words string) string {
	if yes {
		return words
	}
	return ""
}

// stopOnce stops the tree and has it run again.
func (t *procTree) stopOnce(ctx context.Context, c *agent.Conn, method string, ticks time.Duration) (took, apart time.Duration, err error) {
	if err := t.tick(ticks); err != nil {
		return 0, 0, err
	}
	start := mono()
	undo, err := t.stop(ctx, c, method)
	if err != nil {
		return 0, 0, err
	}
	took, apart = mono()-start, t.apart()
	return took, apart, errors.Join(undo(), t.tick(rarely))
}

// stop stops the tree and returns when every process is seen stopped.
func (t *procTree) stop(ctx context.Context, c *agent.Conn, method string) (undo func() error, err error) {
	if method == "" {
		return t.each("CONT"), errors.Join(t.each("STOP")(), t.allStopped())
	}
	params, err := json.Marshal(pause.Params{PID: t.root, Method: method})
	if err != nil {
		return nil, err
	}
	f, err := c.Inject(ctx, inject.Spec{Kind: pause.Kind, For: time.Minute, Params: params})
	return func() error { _, err := c.Revert(ctx, f.ID); return err }, err
}

// each has a shell send a signal to every process.
func (t *procTree) each(signal string) func() error {
	return func() error {
		args := []string{"-c", "for p in \"$@\"; do kill -" + signal + " $p; done", "sh"}
		for _, pid := range t.pids {
			args = append(args, strconv.Itoa(pid))
		}
		return exec.Command("sh", args...).Run()
	}
}

func (t *procTree) allStopped() error {
	for _, pid := range t.pids {
		if _, err := until(pid, true); err != nil {
			return err
		}
	}
	return nil
}
