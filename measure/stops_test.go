package measure

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target/systemdtest"
)

// jvm is a real one that collects garbage when it is told to.
type jvm struct {
	t   *testing.T
	pid int
	in  io.WriteCloser
	out *bufio.Reader
}

func startJVM(t *testing.T, options ...string) *jvm {
	t.Helper()
	java, err := exec.LookPath("java")
	if err != nil {
		t.Fatalf("find java (apt-get install default-jre-headless): %v", err)
	}
	cmd := exec.Command(java, append(append([]string{"-Xmx32m", "-XX:TieredStopAtLevel=1", "-cp", "testdata"}, options...), "Collects")...)
	j := &jvm{t: t}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	j.pid, j.in, j.out = cmd.Process.Pid, in, bufio.NewReader(out)
	j.collect() // it is up
	return j
}

// collect returns when the garbage is collected.
func (j *jvm) collect() {
	if _, err := j.in.Write([]byte{'g'}); err != nil {
		j.t.Errorf("ask the JVM: %v", err)
		return
	}
	if _, err := j.out.ReadByte(); err != nil {
		j.t.Errorf("the JVM ended: %v", err)
	}
}

func process(pid int, d time.Duration, log string) Stops {
	return Stops{Target: json.RawMessage(fmt.Sprintf(`{"pid":%d}`, pid)), For: d, GCLog: log}
}

func named(t *testing.T, all []history.Sample, name, source string) history.Sample {
	t.Helper()
	for _, s := range all {
		if s.Name == name && strings.HasPrefix(s.Source, source) {
			return s
		}
	}
	t.Fatalf("no %s of %s in %+v", name, source, all)
	return history.Sample{}
}

// TestJVM: what a JVM counts of its own stops is seen from outside, and is what it logs.
func TestJVM(t *testing.T) {
	log := filepath.Join(t.TempDir(), "gc.log")
	j := startJVM(t, "-Xlog:gc,safepoint:file="+log)
	ctx, stop := context.WithCancel(t.Context())
	collected := make(chan struct{})
	go func() {
		defer close(collected)
		for ctx.Err() == nil {
			j.collect()
		}
	}()
	var seen history.Sample
	until(t, "stops are seen", func() bool {
		all := mustTake[[]history.Sample](t, KindStops, process(j.pid, 300*time.Millisecond, log))
		seen = named(t, all, history.SampleStop, "hsperfdata")
		logged := named(t, all, history.SampleStop, "gc log")
		return seen.Count > 0 && logged.Count > 0 && logged.Over > 0
	})
	stop()
	<-collected
	if !strings.Contains(seen.Source, "(java), Java ") || !strings.Contains(seen.Notes[0], "safepoints since its start") || seen.Max <= 0 {
		t.Errorf("%+v", seen)
	}
	// At rest now: the counters and the log tell of the same stops.
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", j.pid))
	if err != nil {
		t.Fatal(err)
	}
	h, err := openHsperf(j.pid, innerPID(string(status), j.pid), effectiveUID(string(status)))
	if err != nil {
		t.Fatal(err)
	}
	defer h.file.Close()
	until(t, "the log has every stop", func() bool {
		n, total, err := h.read()
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		var sum time.Duration
		count := 0
		for line := range strings.Lines(string(text)) {
			if one := parseGCLog(line); one.Count == 1 && one.Notes[0] == "safepoints" {
				sum, count = sum+time.Duration(one.Max), count+1
			}
		}
		// The log's total has the cleanup too, and some versions count a little apart.
		return uint64(count) == n && total <= sum && total > sum/2
	})
}

// TestNotAJVM: another process has no such file, and that is not taken for no stop.
func TestNotAJVM(t *testing.T) {
	for name, options := range map[string][]string{"sleep": nil, "java": {"-XX:-UsePerfData"}} {
		pid := 0
		if name == "java" {
			pid = startJVM(t, options...).pid
		} else {
			cmd := exec.Command("sleep", "1000")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			})
			pid = cmd.Process.Pid
		}
		all := mustTake[[]history.Sample](t, KindStops, process(pid, 20*time.Millisecond, ""))
		if len(all) != 1 || all[0].Name != history.SampleThrottle {
			t.Errorf("%s: %+v", name, all)
		}
	}
}

func TestProcessRefuses(t *testing.T) {
	cmd := exec.Command("sleep", "0.3")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if _, err := take[[]history.Sample](t, KindStops, process(cmd.Process.Pid, 2*time.Minute, "")); !errors.Is(err, inject.ErrGone) {
		t.Errorf("it ended meanwhile: %v", err)
	}
	<-ended
	for _, p := range []Stops{
		{For: time.Second}, process(os.Getpid(), 0, ""), process(os.Getpid(), time.Hour, ""),
		{Target: json.RawMessage(`{"pid":1,"name":"x"}`), For: time.Second}, process(os.Getpid(), 10*time.Millisecond, "gc.log"),
	} {
		if _, err := take[[]history.Sample](t, KindStops, p); !errors.Is(err, ErrParams) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

// TestThrottledProcess: the quota of a parent of the process's own control group, which
// this one does not share.
func TestThrottledProcess(t *testing.T) {
	group := quotaGroup(t)
	cmd := exec.Command("sh", "-c", `echo $$ > "$0/cgroup.procs"; while kill -0 $PPID; do :; done`, filepath.Join(group, "child"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	until(t, "it is throttled", func() bool {
		s := named(t, mustTake[[]history.Sample](t, KindStops, process(cmd.Process.Pid, 300*time.Millisecond, "")), history.SampleThrottle, "cpu.stat")
		return s.Count > 0 && s.Max > int64(10*time.Millisecond) && strings.Contains(s.Notes[0], filepath.Base(group)+": throttled in")
	})
}

// quotaGroup makes a control group of 5 % of a CPU, with a child, in whichever version has
// the machine's cpu controller.
func quotaGroup(t *testing.T) string {
	t.Helper()
	group := systemdtest.NewGroup(t)
	write := func(dir, file, text string) error { return os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644) }
	if controllers, err := os.ReadFile(filepath.Join(filepath.Dir(group), "cgroup.controllers")); err == nil && strings.Contains(" "+string(controllers)+" ", " cpu ") {
		if err := errors.Join(write(filepath.Dir(group), "cgroup.subtree_control", "+cpu"), write(group, "cpu.max", "5000 100000"), os.Mkdir(filepath.Join(group, "child"), 0o755)); err != nil {
			t.Fatal(err)
		}
		return group
	}
	group, err := os.MkdirTemp("/sys/fs/cgroup/cpu", "lockaudit-measure-")
	if err != nil {
		t.Fatalf("neither version of cgroups has a cpu controller here: %v", err)
	}
	t.Cleanup(func() {
		until(t, "the group is empty", func() bool {
			_ = os.Remove(filepath.Join(group, "child"))
			return os.Remove(group) == nil
		})
	})
	if err := errors.Join(write(group, "cpu.cfs_quota_us", "5000"), os.Mkdir(filepath.Join(group, "child"), 0o755)); err != nil {
		t.Fatal(err)
	}
	return group
}

func TestGCLog(t *testing.T) {
	for name, tt := range map[string]struct {
		text  string
		count int
		max   time.Duration
		over  time.Duration
		note  string
	}{
		"unified, both": {`[2.865s][info][gc       ] GC(32) Pause Full (G1 Compaction Pause) 124M->124M(128M) 7.262ms
[2.865s][info][safepoint] Safepoint "G1CollectForAllocation", Time since last: 69842 ns, Reaching safepoint: 1166 ns, Cleanup: 1901 ns, At safepoint: 13186187 ns, Total: 13189254 ns
[4.000s][info][safepoint   ] Safepoint "ICBufferFull", Time since last: 9 ns, Reaching safepoint: 9 ns, At safepoint: 2 ns, Total:        11 ns
`, 2, 13189254, 1135 * time.Millisecond, "safepoints"},
		"collections alone": {"[0.5s][info][gc] GC(0) Pause Young (Normal) (G1 Evacuation Pause) 24M->3M(256M) 3.456ms\n[0.6s][info][gc] GC(1) Concurrent Mark Cycle 20.698ms\n[1,5s][info][gc] GC(2) Pause Remark 3M->3M(256M) 12,5ms\n",
			2, 12500 * time.Microsecond, time.Second, "collections only: -Xlog:gc,safepoint has every stop"},
		"java 8":          {"2026-11-24T09:00:00.000+0100: 1.234: Total time for which application threads were stopped: 0.0421 seconds, Stopping threads took: 0.0000123 seconds\n", 1, 42100 * time.Microsecond, 0, "safepoints"},
		"started again":   {"[10.0s] x\n[12.0s] x\n[1.0s] Safepoint \"a\", Total: 5 ns\n[4.0s] x\n", 1, 5, 5 * time.Second, "safepoints"},
		"something else":  {"hello\n", 0, 0, 0, "no line of a stop in it"},
		"numbers too big": {"[1.0s] Safepoint \"a\", Total: 99999999999999999999999999 ns\n", 1, 0, 0, "safepoints"},
	} {
		s := parseGCLog(tt.text)
		if name == "numbers too big" {
			if s.Count != 1 {
				t.Errorf("%s: %+v", name, s)
			}
			continue
		}
		if s.Count != tt.count || time.Duration(s.Max) != tt.max || s.Over.Round(time.Millisecond) != tt.over || s.Notes[0] != tt.note {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// FuzzHsperf: a file that somebody else has made up does not break the reader.
func FuzzHsperf(f *testing.F) {
	f.Add([]byte("\xca\xfe\xc0\xc0\x01\x02\x00\x01\x98\x30\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x20\x00\x00\x00\x01\x00\x00\x00\x30\x00\x00\x00\x14\x00\x00\x00\x00\x00\x00\x00J\x00\x00\x00\x28\x00\x00\x00sun.os.hrt.frequency\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if h, err := parseHsperf(file, int64(len(data))); err == nil {
			if _, _, err := h.read(); err != nil {
				t.Errorf("its own places cannot be read: %v", err)
			}
		}
	})
}
