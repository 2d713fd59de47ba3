package record

import (
	"errors"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lockaudit/lockaudit/history"
)

// A file size limit makes write(2) fail in the middle of a line, as a full disk
// does: the first bytes are taken, the rest is refused.
func TestFullDiskKeepsTheRecord(t *testing.T) {
	w := create(t)
	log, err := w.History("contend")
	if err != nil {
		t.Fatal(err)
	}
	e := history.Event{Actor: "a", Op: history.OpStep, Type: history.Info, Err: strings.Repeat("x", 200)}
	for range 3 {
		if _, err := log.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	refused := func() error {
		signal.Ignore(syscall.SIGXFSZ)
		defer signal.Reset(syscall.SIGXFSZ)
		var old unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
		limit := old
		limit.Cur = 1000 // three lines and a part of the fourth
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
				t.Fatal(err)
			}
		}()
		_, err := log.Append(e)
		return err
	}()
	if refused == nil || !errors.Is(refused, syscall.EFBIG) || !strings.Contains(refused.Error(), "contend.jsonl") {
		t.Fatalf("append to a full file: %v; want an error that names the file", refused)
	}
	data, err := os.ReadFile(log.file.Name())
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(data), "\n"); n != 3 || data[len(data)-1] != '\n' {
		t.Errorf("%d whole lines, half a line left: %q", n, data[len(data)-20:])
	}
	if e, err := log.Append(e); err != nil || e.Seq != 4 {
		t.Errorf("append once there is room again: seq %d, %v", e.Seq, err)
	}
	if err := w.Seal(Aborted, refused); err != nil {
		t.Fatal(err)
	}
	run := load(t, w.Dir())
	if len(run.Histories["contend"]) != 4 || len(run.Damage) > 0 {
		t.Errorf("%d events, damage %q", len(run.Histories["contend"]), run.Damage)
	}
}
