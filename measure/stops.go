package measure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target"
	"golang.org/x/sys/unix"
)

// Stops asks for how long one process of the deployment was stopped: by its own
// runtime, and by the CPU quota of its control group. It is only looked at.
type Stops struct {
	// Target says which, as a fault's target does.
	Target json.RawMessage `json:"target"`
	For    time.Duration   `json:"for"`
	// GCLog is the JVM's unified log (-Xlog:gc,safepoint:file=…), read back from its end.
	GCLog string `json:"gc_log,omitempty"`
}

// lookEvery is how often the counters are read. Stops that follow each other within it
// are taken for one.
const lookEvery = 5 * time.Millisecond

// readStops returns a sample for each way in which the process tells of its stops.
func readStops(ctx context.Context, p Stops) ([]history.Sample, error) {
	if p.For < lookEvery || p.For > MaxPauses {
		return nil, fmt.Errorf("for %s is not within %s to %s: %w", p.For, lookEvery, MaxPauses, ErrParams)
	}
	s, err := target.Parse(p.Target)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrParams, err)
	}
	found, err := target.Resolve(ctx, s)
	if err != nil {
		return nil, err
	}
	w := &watched{name: fmt.Sprintf("process %d (%s)", found.PID, found.Comm), pid: found.PID, start: found.StartTime}
	defer w.close()
	w.open()
	if w.noJVM != nil && !errors.Is(w.noJVM, ErrNoHsperf) && p.GCLog == "" {
		return nil, fmt.Errorf("watch %s: %w", w.name, w.noJVM) // a JVM that tells, but not us
	}
	if err := w.watch(ctx, p.For); err != nil {
		return nil, err
	}
	out := w.samples(p.For)
	if p.GCLog != "" {
		logged, err := readGCLog(p.GCLog)
		if err != nil {
			return nil, err
		}
		out = append(out, logged)
	}
	return out, nil
}

// watched is the process while it is looked at.
type watched struct {
	name  string
	pid   int
	start uint64

	jvm      *hsperf
	noJVM    error
	cgroups  string
	stops    counter
	throttle counter
	began    *throttle
	ended    *throttle
}

// counter turns a total that grows into single observations. The number beside it is
// counted at another moment, and tells nothing about which look saw the end.
type counter struct {
	n     uint64
	total time.Duration
	began bool
	seen  []time.Duration
}

func (c *counter) add(n uint64, total time.Duration) {
	if c.began && total > c.total {
		c.seen = append(c.seen, total-c.total)
	}
	c.n, c.total, c.began = n, total, true
}

func (w *watched) open() {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.pid))
	if err == nil {
		w.jvm, err = openHsperf(w.pid, innerPID(string(status), w.pid), effectiveUID(string(status)))
	}
	w.noJVM = err
	if cgroups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", w.pid)); err == nil {
		w.cgroups = string(cgroups)
	}
}

func (w *watched) close() {
	if w.jvm != nil {
		_ = w.jvm.file.Close()
	}
}

// watch reads the counters until the time is over. A process that ends meanwhile has not
// shown what it was watched for.
func (w *watched) watch(ctx context.Context, d time.Duration) error {
	start := now()
	for due := start; ; due += lookEvery {
		if w.jvm != nil {
			n, total, err := w.jvm.read()
			if err != nil {
				return err
			}
			w.stops.add(n, total)
		}
		if t := findThrottle(w.cgroups, "/sys/fs/cgroup"); t != nil {
			if w.began == nil {
				w.began = t
			}
			w.ended = t
			w.throttle.add(t.throttled, t.time)
		}
		if stat, err := inject.ReadStat(w.pid); err != nil || stat.Dead() || stat.StartTime != w.start {
			return fmt.Errorf("watch %s: it ended meanwhile: %w", w.name, inject.ErrGone)
		}
		if due >= start+d {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		ts := unix.NsecToTimespec(int64(due + lookEvery))
		if err := unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("sleep until the next look: %w", err)
		}
		due = max(due, now()-lookEvery) // a look that came late is not caught up with
	}
}

func (w *watched) samples(d time.Duration) []history.Sample {
	var out []history.Sample
	if w.jvm != nil {
		s := history.NewSample(history.SampleStop, w.stops.seen, d)
		s.Source = fmt.Sprintf("hsperfdata of %s, Java %s", w.name, w.jvm.version)
		s.Notes = []string{fmt.Sprintf("%s since its start: %d, %s in all", w.jvm.what, w.stops.n, w.stops.total.Round(time.Millisecond))}
		out = append(out, s)
	}
	s := history.NewSample(history.SampleThrottle, w.throttle.seen, d)
	s.Source = "cpu.stat of the control group of " + w.name
	s.Notes = notes(strain{throttle: w.began}, strain{throttle: w.ended})[:1]
	return append(out, s)
}

// innerPID is the process's number in the innermost PID namespace: NSpid's last.
func innerPID(status string, outer int) int {
	fields := strings.Fields(statusLine(status, "NSpid:"))
	if len(fields) == 0 {
		return outer
	}
	if n, err := strconv.Atoi(fields[len(fields)-1]); err == nil {
		return n
	}
	return outer
}

// effectiveUID is the second number of Uid.
func effectiveUID(status string) uint32 {
	fields := strings.Fields(statusLine(status, "Uid:"))
	if len(fields) < 2 {
		return ^uint32(0)
	}
	n, err := strconv.ParseUint(fields[1], 10, 32)
	if err != nil {
		return ^uint32(0)
	}
	return uint32(n)
}

func statusLine(status, key string) string {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			return rest
		}
	}
	return ""
}
