package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestSoak injects random faults of every kind, several at once, and has something
// random happen to agent, guard or auditor at a random moment, also in the middle of an
// injection. After each round everything must be as it was before.
//
//	LOCKAUDIT_SOAK=1000         so many faults; without it, ten seconds
//	LOCKAUDIT_SOAK_SEED=…       the draws of a run that failed; moments differ all the same
func TestSoak(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv("LOCKAUDIT_SOAK_SEED"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	s := &soak{t: t, seed: seed, until: time.Now().Add(10 * time.Second)}
	if v := os.Getenv("LOCKAUDIT_SOAK"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatal(err)
		}
		s.want, s.until = int64(n), time.Now().Add(time.Duration(n)*10*time.Second)
	}
	before := openFiles(t)
	var wg sync.WaitGroup
	for w := range 3 {
		x := &worker{soak: s, name: w, r: rand.New(rand.NewPCG(seed, uint64(w)))}
		for _, k := range kindCases() {
			p := k.make(t)
			x.rows = append(x.rows, matrixRow{kindCase: k, subject: p, before: p.snapshot()})
		}
		wg.Go(x.run)
	}
	wg.Wait()
	opened := openFiles(t) - before
	t.Logf("seed %d: %d rounds, %d faults in effect, %d refused or cut off; %s", seed, s.rounds.Load(), s.faults.Load(), s.failed.Load(), s.incidents())
	if s.faults.Load() == 0 {
		t.Error("nothing was injected")
	}
	if s.want > 0 && s.faults.Load() < s.want {
		t.Errorf("only %d of %d faults within the time", s.faults.Load(), s.want)
	}
	// The subjects hold some; a leak would grow with the rounds.
	if opened > 20*len(kindCases()) {
		t.Errorf("seed %d: %d files more are open than before", seed, opened)
	}
}

type soak struct {
	t      *testing.T
	seed   uint64
	want   int64
	until  time.Time
	rounds atomic.Int64
	faults atomic.Int64
	failed atomic.Int64
	seen   [rebooted + 1]atomic.Int64
}

// nothing happens: the deadlines come, or the end of orders. It has the place of the
// reboot, which is no incident that a soak can have.
const nothing = rebooted

func (s *soak) incidents() string {
	var out []string
	for e := range s.seen {
		name := incident(e).String()
		if incident(e) == nothing {
			name = "nothing"
		}
		out = append(out, fmt.Sprintf("%s %d", name, s.seen[e].Load()))
	}
	return strings.Join(out, ", ")
}

func (s *soak) over() bool {
	return s.t.Failed() || time.Now().After(s.until) || s.want > 0 && s.faults.Load() >= s.want
}

type worker struct {
	*soak
	name int
	r    *rand.Rand
	rows []matrixRow
}

func (w *worker) run() {
	for n := 0; !w.over(); n++ {
		w.rounds.Add(1)
		if err := w.round(); err != nil {
			w.t.Errorf("LOCKAUDIT_SOAK_SEED=%d, worker %d, round %d: %v", w.seed, w.name, n, err)
			return
		}
	}
}

func (w *worker) round() error {
	dir, err := os.MkdirTemp("", "agent-test-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	a, err := launchAuditor(w.t, dir, io.Discard)
	if a != nil {
		defer a.abandon()
	}
	if err != nil {
		return err
	}
	what := incident(w.r.IntN(int(nothing) + 1))
	w.seen[what].Add(1)
	moment := time.Duration(w.r.Int64N(int64(600 * time.Millisecond)))
	long := w.r.IntN(3) == 0 // then the deadline must not be what ends it
	if what == agentStopped || what == guardStopped || what == bothStopped {
		long = false
	}
	story := []string{fmt.Sprintf("%s after %v", what, moment)}
	ordered := make(chan struct{})
	go func() {
		defer close(ordered)
		for range 1 + w.r.IntN(5) {
			row := w.rows[w.r.IntN(len(w.rows))]
			d := time.Duration(200+w.r.IntN(1000)) * time.Millisecond
			if long {
				d = time.Hour
			}
			_, err := a.try(row.spec(d))
			story = append(story, fmt.Sprintf("%s for %v: %v", row.name, d, err))
			if errors.Is(err, errAuditorGone) {
				w.failed.Add(1)
				return
			}
			if err != nil {
				w.failed.Add(1)
				continue
			}
			w.faults.Add(1)
		}
	}()
	time.Sleep(moment) // the moment itself is what is drawn
	if what != nothing {
		what.happen(a)
	}
	err = w.settle(a, what, ordered)
	<-ordered
	if err == nil {
		err = w.clean(dir)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(story, "; "), err)
	}
	return nil
}

// settle waits until nobody is left who could still change anything.
func (w *worker) settle(a *auditor, what incident, ordered <-chan struct{}) error {
	end := func(g grasp) error { return eventually("agent or guard has ended", g.ended) }
	switch what {
	case nothing, guardKilled, guardStopped:
		<-ordered
		err := a.close()
		return errors.Join(err, end(a.agent))
	case agentStopped:
		err := eventually("the guard ends all at the deadlines", func() bool { return w.look() == "" })
		a.agent.signal(syscall.SIGCONT)
		<-ordered
		return errors.Join(err, a.close(), end(a.agent))
	case bothStopped:
		err := eventually("the kernel ends the guard, or there was nothing to end", func() bool { return a.guard.ended() || w.look() == "" })
		a.agent.signal(syscall.SIGKILL)
		a.guard.signal(syscall.SIGKILL)
		_ = a.close()
		return err
	default:
		err := errors.Join(end(a.agent), end(a.guard))
		_ = a.close() // it has lost its agent, or is dead
		return err
	}
}

// look says what of the subjects is not as it was before.
func (w *worker) look() string {
	var bad []string
	for _, r := range w.rows {
		if now := r.snapshot(); now != r.before {
			bad = append(bad, fmt.Sprintf("%s: %s, was %s", r.name, now, r.before))
		}
	}
	return strings.Join(bad, "; ")
}

// clean heals and compares.
func (w *worker) clean(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var err error
	if e := eventually("the state directory is free", func() bool {
		_, err = Heal(ctx, dir, faults())
		return !errors.Is(err, ErrBusy)
	}); e != nil || err != nil {
		return errors.Join(e, err)
	}
	if e := eventually("all is as before", func() bool { return w.look() == "" }); e != nil {
		return fmt.Errorf("%w: %s", e, w.look())
	}
	if left, err := os.ReadDir(filepath.Join(dir, "faults")); err != nil || len(left) > 0 {
		return fmt.Errorf("journal: %v, %v", left, err)
	}
	if e := eventually("no process of it is left", func() bool { return len(processesOf(dir)) == 0 }); e != nil {
		return fmt.Errorf("%w: %v", e, processesOf(dir))
	}
	return nil
}

// processesOf are the agents, guards, standbys and auditors of a state directory.
func processesOf(dir string) []string {
	procs, _ := filepath.Glob("/proc/[0-9]*/environ")
	var out []string
	for _, p := range procs {
		env, err := os.ReadFile(p)
		if err != nil || !strings.Contains(string(env), "LOCKAUDIT_STATE="+dir+"\x00") {
			continue
		}
		line, _ := os.ReadFile(filepath.Dir(p) + "/cmdline")
		out = append(out, filepath.Base(filepath.Dir(p))+" "+strings.ReplaceAll(string(line), "\x00", " "))
	}
	return out
}

func openFiles(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}
