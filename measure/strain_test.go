package measure

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func put(t *testing.T, root, path, text string) {
	t.Helper()
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFindThrottle(t *testing.T) {
	const v1 = "nr_periods 50\nnr_throttled 3\nthrottled_time 120000000\n"
	const v2 = "usage_usec 1\nuser_usec 1\nsystem_usec 0\nnr_periods 50\nnr_throttled 3\nthrottled_usec 120000\n"
	const noQuota = "usage_usec 1\nuser_usec 1\nsystem_usec 0\n"
	tests := []struct {
		name, cgroups string
		files         map[string]string
		group         string
	}{
		{"version 1", "4:cpu,cpuacct:/app\n1:name=systemd:/x\n", map[string]string{"cpu,cpuacct/app/cpu.stat": v1}, "/app"},
		{"version 1, mounted as cpu", "4:cpu,cpuacct:/app\n", map[string]string{"cpu/app/cpu.stat": v1}, "/app"},
		{"version 2", "0::/app.slice/job\n", map[string]string{"app.slice/job/cpu.stat": v2}, "/app.slice/job"},
		{"version 2, the quota is the parent's", "0::/app.slice/job\n", map[string]string{"app.slice/job/cpu.stat": noQuota, "app.slice/cpu.stat": v2}, "/app.slice"},
		{"inside a container", "0::/../../kubepods/pod1\n", map[string]string{"cpu.stat": v2}, "/"},
		{"hybrid", "4:cpuset:/\n0::/app\n", map[string]string{"unified/app/cpu.stat": v2}, "/app"},
	}
	for _, tt := range tests {
		root := t.TempDir()
		for path, text := range tt.files {
			put(t, root, path, text)
		}
		got := findThrottle(tt.cgroups, root)
		if got == nil {
			t.Errorf("%s: not found", tt.name)
			continue
		}
		if want := (throttle{tt.group, 50, 3, 120 * time.Millisecond}); *got != want {
			t.Errorf("%s: %+v, want %+v", tt.name, *got, want)
		}
	}
	if got := findThrottle("0::/app\n", t.TempDir()); got != nil {
		t.Errorf("no cpu.stat anywhere: %+v", got)
	}
}

func TestNotes(t *testing.T) {
	stall := func(d time.Duration) *time.Duration { return &d }
	a := strain{&throttle{"/app", 100, 10, time.Second}, stall(time.Second)}
	b := strain{&throttle{"/app", 150, 13, 1120 * time.Millisecond}, stall(1250 * time.Millisecond)}
	got := strings.Join(notes(a, b), "; ")
	if want := "cgroup /app: throttled in 3 of 50 periods, for 120ms; PSI: some task waited for a CPU for 250ms"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	free := strain{throttle: &throttle{group: "/"}}
	if got := notes(free, free)[0]; got != "cgroup /: no CPU quota" {
		t.Errorf("%q", got)
	}
	if got := strings.Join(notes(strain{}, strain{}), "; "); !strings.Contains(got, "no cpu.stat") || !strings.Contains(got, "does not count") {
		t.Errorf("%q", got)
	}
}

func TestParsePressure(t *testing.T) {
	d := parsePressure("some avg10=0.12 avg60=0.00 avg300=0.00 total=123456\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n")
	if d == nil || *d != 123456*time.Microsecond {
		t.Errorf("%v", d)
	}
	for _, bad := range []string{"", "some", "some total=x", "full total=1"} {
		if d := parsePressure(bad); d != nil {
			t.Errorf("%q: %v", bad, *d)
		}
	}
}

// TestThisMachine: the kernel's own files are read, whatever it has of them.
func TestThisMachine(t *testing.T) {
	s := readStrain()
	if _, err := os.Stat("/proc/pressure/cpu"); err == nil && s.pressure == nil {
		t.Error("this kernel counts CPU pressure and it was not read")
	}
}
