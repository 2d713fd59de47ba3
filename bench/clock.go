package main

import (
	"bufio"
	"context"
	_ "embed" // the target's source
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/clock"
	"github.com/lockaudit/lockaudit/inject/target"
)

//go:embed testdata/clocks.c
var clocksSource string

// clocks is a running target.
type clocks struct {
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

// buildClocks compiles the target; done removes it.
func buildClocks(ctx context.Context) (path string, done func(), err error) {
	dir, err := os.MkdirTemp("", "lockaudit-bench-")
	if err != nil {
		return "", nil, err
	}
	done = func() { os.RemoveAll(dir) }
	path = filepath.Join(dir, "clocks")
	cmd := exec.CommandContext(ctx, "gcc", "-O2", "-pthread", "-x", "c", "-o", path, "-")
	cmd.Stdin = strings.NewReader(clocksSource)
	if out, err := cmd.CombinedOutput(); err != nil {
		done()
		return "", nil, fmt.Errorf("compile testdata/clocks.c (apt-get install gcc libc6-dev): %w: %s", err, out)
	}
	return path, done, nil
}

func startClocks(env []string, path string, args ...string) (*clocks, error) {
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), env...)
	in, out, err := startPiped(cmd)
	if err != nil {
		return nil, err
	}
	c := &clocks{cmd, in, out}
	_, err = c.answer()
	return c, err
}

func (c *clocks) end() { _, _ = c.cmd.Process.Kill(), c.cmd.Wait() }

func (c *clocks) answer() (float64, error) {
	line, err := c.out.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("target: %w", err)
	}
	return strconv.ParseFloat(strings.TrimSpace(line), 64)
}

// ask returns the answer divided by 1000: ns per call, or µs of gap.
func (c *clocks) ask(command byte) (float64, error) {
	if _, err := c.in.Write([]byte{command}); err != nil {
		return 0, err
	}
	v, err := c.answer()
	return v / 1000, err
}

// into appends an answer to a row.
func (c *clocks) into(values *[]float64, command byte) error {
	v, err := c.ask(command)
	*values = append(*values, v)
	return err
}

// skew puts an offset into effect.
func (c *clocks) skew(ctx context.Context, f *clock.Fault, s clock.Skew) (inject.Plan, error) {
	params, err := json.Marshal(clock.Params{Target: target.Selector{PID: c.cmd.Process.Pid}, Skew: s})
	if err != nil {
		return inject.Plan{}, err
	}
	p, err := f.Prepare(ctx, inject.Spec{Kind: clock.Kind, For: time.Minute, Params: params})
	if err != nil {
		return inject.Plan{}, err
	}
	p.ID = "bench"
	_, err = f.Inject(ctx, p)
	return p, err
}

// clockRead measures a call of clock_gettime in a target: untouched, skewed, and
// after the revert, in turns, beside the same program under libfaketime.
func clockRead(ctx context.Context, n int) ([]row, error) {
	path, done, err := buildClocks(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	libs, err := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	if err != nil || len(libs) == 0 {
		return nil, errors.New("find libfaketime: apt-get install faketime, or make bench-deps")
	}
	ours, err := startClocks(nil, path)
	if err != nil {
		return nil, err
	}
	defer ours.end()
	theirs, err := startClocks([]string{"LD_PRELOAD=" + libs[0], "FAKETIME=+30s"}, path)
	if err != nil {
		return nil, err
	}
	defer theirs.end()
	f := clock.New()
	var untouched, offset, drift, after, faketime, syscalls, extra []float64
	for range 100 * n {
		err := errors.Join(ours.into(&untouched, 'c'), theirs.into(&faketime, 'c'), ours.into(&syscalls, 's'))
		if err != nil {
			return nil, err
		}
		p, err := ours.skew(ctx, f, clock.Skew{Offset: 30 * time.Second})
		if err != nil {
			return nil, err
		}
		err = errors.Join(ours.into(&offset, 'c'), f.Change(ctx, p, clock.Skew{Offset: 30 * time.Second, DriftPPM: 200}), ours.into(&drift, 'c'))
		if _, e := f.Revert(ctx, p); e != nil || err != nil {
			return nil, errors.Join(err, e)
		}
		if err := ours.into(&after, 'c'); err != nil {
			return nil, err
		}
		extra = append(extra, after[len(after)-1]-untouched[len(untouched)-1])
	}
	return []row{
		{"clock_gettime, untouched", "", untouched, "ns"},
		{"skewed by an offset, with its lease", "< libfaketime", offset, "ns"},
		{"skewed by offset and drift, with its lease", "< libfaketime", drift, "ns"},
		{"after the revert", "", after, "ns"},
		{"after the revert, more than untouched", "median within 2", extra, "ns"},
		{"alternative: libfaketime, an offset", "", faketime, "ns"},
		{"alternative: the system call itself", "", syscalls, "ns"},
	}, nil
}

// clockStop measures for how long a target does nothing while it is patched, as its
// own clock shows, by its number of threads.
func clockStop(ctx context.Context, n int) ([]row, error) {
	path, done, err := buildClocks(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	var rows []row
	for _, threads := range []int{1, 21, 201} {
		var patch, revert, idle []float64
		// One thread alone watches the clock; of several, the first waits for orders, one
		// watches, the others sleep.
		args, begin := []string{strconv.Itoa(threads - 2), "watch"}, byte('g')
		if threads == 1 {
			args, begin = nil, 'w'
		}
		c, err := startClocks(nil, path, args...)
		if err != nil {
			return nil, err
		}
		defer c.end()
		f := clock.New()
		gap := func(values *[]float64, do func() error) error {
			if _, err := c.ask(begin); err != nil {
				return err
			}
			err := do()
			return errors.Join(err, c.into(values, 'g')) // any byte ends w
		}
		for range 50 * n {
			var p inject.Plan
			err := gap(&idle, func() error { return nil }) // what the machine itself does meanwhile
			if err == nil {
				err = gap(&patch, func() (err error) { p, err = c.skew(ctx, f, clock.Skew{Offset: time.Hour}); return err })
			}
			if err == nil {
				err = gap(&revert, func() error { _, err := f.Revert(ctx, p); return err })
			}
			if err != nil {
				return nil, err
			}
		}
		c.end()
		rows = append(rows,
			row{fmt.Sprintf("a target of %d %s stands still, inject", threads, map[bool]string{true: "thread", false: "threads"}[threads == 1]), "", patch, "µs"},
			row{"the same, revert", "", revert, "µs"},
			row{"the same, nothing is done", "", idle, "µs"})
	}
	return rows, nil
}

// clockChange measures another offset for a running target, against taking the skew
// away and putting it back.
func clockChange(ctx context.Context, n int) ([]row, error) {
	path, done, err := buildClocks(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	c, err := startClocks(nil, path, "19", "watch")
	if err != nil {
		return nil, err
	}
	defer c.end()
	f := clock.New()
	p, err := c.skew(ctx, f, clock.Skew{Offset: time.Hour})
	if err != nil {
		return nil, err
	}
	var change, changeGap, again, againGap []float64
	micros := func(since time.Time) float64 { return float64(time.Since(since)) / float64(time.Microsecond) }
	for i := range 100 * n {
		if err := c.into(new([]float64), 'g'); err != nil {
			return nil, err
		}
		start := time.Now()
		err := f.Change(ctx, p, clock.Skew{Offset: time.Duration(i+1) * time.Hour})
		change = append(change, micros(start))
		if err := errors.Join(err, c.into(&changeGap, 'g')); err != nil {
			return nil, err
		}
		start = time.Now()
		if _, err := f.Revert(ctx, p); err != nil {
			return nil, err
		}
		if p, err = c.skew(ctx, f, clock.Skew{Offset: time.Hour}); err != nil {
			return nil, err
		}
		again = append(again, micros(start))
		if err := c.into(&againGap, 'g'); err != nil {
			return nil, err
		}
	}
	if _, err := f.Revert(ctx, p); err != nil {
		return nil, err
	}
	return []row{
		{"another offset, in force", "", change, "µs"},
		{"the target stands still for it", "no stop", changeGap, "µs"},
		{"alternative: revert and inject anew", "", again, "µs"},
		{"the target stands still for that", "", againGap, "µs"},
	}, nil
}
