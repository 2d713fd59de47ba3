package partition_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/partition"
)

// TestFlapping comes and goes, and is over at the deadline.
func TestFlapping(t *testing.T) {
	t.Parallel()
	for _, f := range []*partition.Fault{partition.New(), partition.NewForwarding()} {
		a, b := pair(t)
		e := echo(b, "udp", "10.99.0.2:0")
		effect, heal := a.cut(f, "t", long, partition.Params{Peers: []string{"10.99.0.2"}, Period: 400 * time.Millisecond, Duty: 50})
		if !strings.Contains(effect.Seen, "on for 200ms and off for 200ms") {
			t.Errorf("inject: %+v", effect)
		}
		for range 3 {
			await(t, func() bool { return !a.ping(e.addr, 60*time.Millisecond) })
			await(t, func() bool { return a.ping(e.addr, 60*time.Millisecond) })
		}
		if e := heal(); !strings.Contains(e.Seen, "it was on") || e.Count == 0 {
			t.Errorf("revert: %+v", e)
		}
		heal()
		for range 10 { // longer than it was ever off
			if !a.ping(e.addr, hang) {
				t.Fatal("it goes on after the heal")
			}
			time.Sleep(40 * time.Millisecond)
		}
	}
}

// TestFlappingEndsByItself: the holder is stopped while it is on, so that nobody
// shuts the gate. The kernel does, and it does not open again.
func TestFlappingEndsByItself(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	e := echo(b, "udp", "10.99.0.2:0")
	p, err := partition.New().Prepare(testContext(t), a.spec(long, partition.Params{Peers: []string{"10.99.0.2"}, Period: 2 * time.Second, Duty: 50}))
	if err != nil {
		t.Fatal(err)
	}
	p.ID = "t"
	holder := a.holder(p)
	if a.ping(e.addr, 50*time.Millisecond) {
		t.Error("not cut")
	}
	if err := holder.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	await(t, func() bool { return a.ping(e.addr, 20*time.Millisecond) })
	for time.Since(start) < 3*time.Second {
		if !a.ping(e.addr, hang) {
			t.Fatal("it came back although its holder is stopped")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// holder is another process that has the partition in effect.
func (h *host) holder(p inject.Plan) *exec.Cmd {
	h.t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), "INJECTTEST_ROLE=after inject")
	cmd.Stdin = bytes.NewReader(append(b, '\n'))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	if _, err := out.Read(make([]byte, 64)); err != nil {
		h.t.Fatalf("holder: %v", err)
	}
	return cmd
}

// TestPick draws the same peers for one seed, and cuts no others.
func TestPick(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	peers := addresses(20)
	drawn := func(seed uint64) string {
		p, err := partition.New().Prepare(testContext(t), a.spec(long, partition.Params{Peers: slices.Clone(peers), Pick: 3, Seed: seed}))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(p.Objects, "\n")
	}
	different := map[string]bool{}
	for seed := range uint64(10) {
		one := drawn(seed)
		if strings.Count(one, "10.128.0.") != 6 { // in and out
			t.Errorf("seed %d: %s", seed, one)
		}
		if drawn(seed) != one {
			t.Errorf("seed %d draws different peers", seed)
		}
		different[one] = true
	}
	if len(different) < 8 {
		t.Errorf("10 seeds draw %d different shapes", len(different))
	}
}

func TestBadShapes(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	for name, p := range map[string]partition.Params{
		"no duty":            {Period: time.Second},
		"no period":          {Duty: 50},
		"always on":          {Period: time.Second, Duty: 100},
		"on for too short":   {Period: 100 * time.Millisecond, Duty: 5},
		"period as long":     {Period: time.Minute, Duty: 50},
		"negative period":    {Period: -time.Second, Duty: 50},
		"more than there is": {Pick: 3},
		"a negative pick":    {Pick: -1},
		"a seed for nothing": {Seed: 1},
	} {
		p.Peers = []string{"10.99.0.2", "10.99.0.3"}
		if _, err := partition.New().Prepare(testContext(t), a.spec(time.Minute, p)); err == nil {
			t.Errorf("%s: prepare accepted it", name)
		}
	}
}
