package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/probes"
	"github.com/lockaudit/lockaudit/record"
)

// runOnce runs a probe whose trials end one after the other with the given errors, and
// returns how the record has it.
func runOnce(t *testing.T, trials int, outcomes ...error) (p record.Probe, rounds []int) {
	t.Helper()
	pl := parse(t, "")
	schedule, err := Plan(pl, Options{Probes: []string{"contend"}, Trials: trials})
	if err != nil {
		t.Fatal(err)
	}
	probe := probes.Probe{Name: "scripted", Trial: func(_ context.Context, trial *probes.Trial) error {
		if trial.Number != len(rounds)+1 {
			t.Errorf("trial number %d after %d others: two of them would be one to a judge", trial.Number, len(rounds))
		}
		rounds = append(rounds, trial.Round)
		return outcomes[len(rounds)-1]
	}}
	schedule.Probes = []probes.Probe{probe}
	w, err := record.Create(t.TempDir(), manifest(pl, Options{}, schedule), []byte("name: x\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := runProbe(t.Context(), newStage(pl, "", schedule, w, func(error) {}), probe, 0, schedule, w, Options{Progress: func(probes.Progress) {}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Seal(record.Complete, nil); err != nil {
		t.Fatal(err)
	}
	run, err := record.Load(w.Dir())
	if err != nil {
		t.Fatal(err)
	}
	return run.Manifest.Probes[0], rounds
}

// TestTrialsAreRepeatedForTheirPremiseOnly, no more often than the bound, and the
// record says which and why.
func TestTrialsAreRepeatedForTheirPremiseOnly(t *testing.T) {
	premise := fmt.Errorf("%w: nobody answered", probes.ErrPremise)
	for _, tt := range []struct {
		name     string
		trials   int
		outcomes []error
		rounds   []int
		status   record.ProbeStatus
		done     int
		repeated []int
	}{
		{"at once", 2, []error{nil, nil}, []int{1, 2}, record.Ran, 2, nil},
		{"a premise that came about later", 2, []error{nil, premise, premise, nil}, []int{1, 2, 2, 2}, record.Ran, 2, []int{2, 3}},
		{"a premise that never comes about", 2, []error{premise, premise, premise}, []int{1, 1, 1}, record.Failed, 0, []int{1, 2}},
		{"another error", 2, []error{nil, errors.New("still held")}, []int{1, 2}, record.Failed, 1, nil},
		{"not possible here", 2, []error{fmt.Errorf("%w: %w", probes.ErrSkip, premise)}, []int{1}, record.Skipped, 0, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, rounds := runOnce(t, tt.trials, tt.outcomes...)
			if fmt.Sprint(rounds) != fmt.Sprint(tt.rounds) || p.Status != tt.status || p.Completed != tt.done || len(p.Repeats) != len(tt.repeated) {
				t.Fatalf("rounds %v, record %+v", rounds, p)
			}
			for i, r := range p.Repeats {
				if r.Trial != tt.repeated[i] || !strings.Contains(r.Why, "nobody answered") {
					t.Errorf("repeat %+v, want trial %d", r, tt.repeated[i])
				}
				if p.Whole(r.Trial) {
					t.Errorf("trial %d was repeated and counts as whole", r.Trial)
				}
			}
			whole := 0
			for n := range rounds {
				if p.Whole(n + 1) {
					whole++
				}
			}
			if whole != p.Completed {
				t.Errorf("%d whole trials, %d completed", whole, p.Completed)
			}
		})
	}
}

const stallEnv = "LOCKAUDIT_TEST_STALL"

func TestMain(m *testing.M) {
	if os.Getenv(stallEnv) != "" {
		end := watchStalls()
		fmt.Println("watching")
		_, _ = fmt.Scanln()
		fmt.Println(end().Max)
		return
	}
	os.Exit(m.Run())
}

// TestStallsAreSeen stops a process that watches itself, and it knows for how long.
func TestStallsAreSeen(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), stallEnv+"=1")
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	line := func() string {
		var text string
		if _, err := fmt.Fscanln(out, &text); err != nil {
			t.Fatal(err)
		}
		return text
	}
	if got := line(); got != "watching" {
		t.Fatalf("child says %q", got)
	}
	stopped := func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(stat), ") T ")
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for !stopped() {
		if t.Context().Err() != nil {
			t.Fatal("never stopped")
		}
	}
	began := time.Now()
	for time.Since(began) < stallLimit(2*time.Second) && stopped() {
		time.Sleep(time.Millisecond)
	}
	known := time.Since(began)
	if err := errors.Join(cmd.Process.Signal(syscall.SIGCONT), func() error { _, err := fmt.Fprintln(in); return err }()); err != nil {
		t.Fatal(err)
	}
	longest, err := strconv.ParseInt(line(), 10, 64)
	if err != nil || time.Duration(longest) < known-stallEvery {
		t.Errorf("it saw a stall of %s, it was stopped for %s: %v", time.Duration(longest), known, err)
	}
}

// TestStalledTrialSaysSo: the event is in the history, where judges find it.
func TestStalledTrialSaysSo(t *testing.T) {
	log := &memoryLog{}
	trial := &probes.Trial{Number: 3, Log: log}
	if err := trial.Stalled(history.Sample{Name: history.SampleStall, Max: int64(time.Second)}); err != nil {
		t.Fatal(err)
	}
	if len(log.events) != 1 || log.events[0].Op != history.OpStall || log.events[0].Trial != 3 || log.events[0].Sample.Max != int64(time.Second) {
		t.Errorf("%+v", log.events)
	}
}

type memoryLog struct{ events []history.Event }

func (m *memoryLog) Append(e history.Event) (history.Event, error) {
	m.events = append(m.events, e)
	return e, nil
}
