package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/nodeclock"
	"github.com/lockaudit/lockaudit/lab/vm"
	"github.com/lockaudit/lockaudit/lab/vm/wire"

	"golang.org/x/sys/unix"
)

// nodeClockRole has this program be measured inside a virtual machine.
const nodeClockRole = "node-clock"

// nodeClockResidual is by how much a machine's clock is off after a disturbance and
// its revert: in a virtual machine, never in this one.
func nodeClockResidual(ctx context.Context, n int) ([]row, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	libraries, err := vm.Closure("/", exe)
	if err != nil {
		return nil, err
	}
	delete(libraries, exe)
	programs := maps.Clone(libraries)
	programs["/bin/bench"] = exe
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	m, err := vm.Boot(ctx, vm.Machine{Name: "bench", Programs: programs})
	if err != nil {
		return nil, err
	}
	defer m.Kill()
	var out, log bytes.Buffer
	p, err := m.Start(wire.Program{Argv: []string{"/bin/bench"}, Env: []string{benchRole + "=" + nodeClockRole, fmt.Sprintf("BENCH_N=%d", n)}}, &out, &log)
	if err != nil {
		return nil, err
	}
	if st, err := p.Wait(ctx); err != nil || st.Code != 0 {
		return nil, errors.Join(err, fmt.Errorf("in the machine: %s: %s", st.Err, log.String()))
	}
	var got map[string][]float64
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		return nil, fmt.Errorf("read figures: %w", err)
	}
	var rows []row
	for _, x := range nodeClockCases() {
		rows = append(rows, row{x.what, x.target, got[x.what], "ns"})
	}
	return append(rows, row{"clock_settime and back (alternative)", "", got["settime"], "ns"}, row{"nothing at all: what a reading is good to", "", got["nothing"], "ns"}), nil
}

type nodeClockCase struct {
	what, target string
	p            nodeclock.Params
	other        bool // reverted by another process's fault, from the plan
}

func nodeClockCases() []nodeClockCase {
	return []nodeClockCase{
		{"step of 30 s, after the revert", "within 1 µs, of a reading", nodeclock.Params{Offset: 30 * time.Second}, false},
		{"the same, reverted from the journal", "", nodeclock.Params{Offset: 30 * time.Second}, true},
		{"drift of 100 000 ppm, after the revert", "", nodeclock.Params{Drift: 100_000}, false},
	}
}

// playNodeClock measures inside, and prints what it has measured.
func playNodeClock() error {
	if !vm.Inside() {
		return errors.New("this is not a virtual machine: its clock stays as it is")
	}
	n := 1
	if _, err := fmt.Sscan(os.Getenv("BENCH_N"), &n); err != nil {
		return err
	}
	got := map[string][]float64{}
	for range 20 * n {
		for _, x := range nodeClockCases() {
			off, err := around(func() error { return disturb(x) })
			if err != nil {
				return err
			}
			got[x.what] = append(got[x.what], off)
		}
		off, err := around(setTimeAndBack)
		if err != nil {
			return err
		}
		got["settime"] = append(got["settime"], off)
		if off, err = around(func() error { return nil }); err != nil {
			return err
		}
		got["nothing"] = append(got["nothing"], off)
	}
	return json.NewEncoder(os.Stdout).Encode(got)
}

// around is by how many nanoseconds the clock is off after f.
func around(f func() error) (float64, error) {
	before := wallAgainstRaw()
	if err := f(); err != nil {
		return 0, err
	}
	return math.Abs(float64(wallAgainstRaw() - before)), nil
}

// wallAgainstRaw is the closest of many readings.
func wallAgainstRaw() int64 {
	read := func(clock int32) int64 {
		var ts unix.Timespec
		_ = unix.ClockGettime(clock, &ts) // cannot fail
		return ts.Nano()
	}
	var best int64
	width := int64(math.MaxInt64)
	for range 500 {
		a := read(unix.CLOCK_MONOTONIC_RAW)
		wall := read(unix.CLOCK_REALTIME)
		b := read(unix.CLOCK_MONOTONIC_RAW)
		if b-a < width {
			width, best = b-a, wall-(a+(b-a)/2)
		}
	}
	return best
}

func disturb(x nodeClockCase) error {
	ctx := context.Background()
	params, err := json.Marshal(x.p)
	if err != nil {
		return err
	}
	f := nodeclock.New(nodeclock.Options{Allow: true})
	p, err := f.Prepare(ctx, inject.Spec{Kind: nodeclock.Kind, For: time.Minute, Params: params})
	if err != nil {
		return err
	}
	p.ID = "bench"
	if _, err := f.Inject(ctx, p); err != nil {
		return err
	}
	if x.other {
		f = nodeclock.New(nodeclock.Options{})
	}
	_, err = f.Revert(ctx, p)
	return err
}

// setTimeAndBack is what `date -s` does: read, reckon, set.
func setTimeAndBack() error {
	for _, by := range []time.Duration{30 * time.Second, -30 * time.Second} {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
			return err
		}
		to := unix.NsecToTimespec(now.Nano() + int64(by))
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &to); err != nil {
			return err
		}
	}
	return nil
}
