package measure

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLogReturnsWhatWasAdded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	appendTo(t, path, "old\n")
	first := mustTake[Lines](t, KindLog, Log{File: path})
	if len(first.Lines) != 0 || first.Mark == "" {
		t.Fatalf("%+v", first)
	}
	appendTo(t, path, "one\r\n\ntwo \xff\nhal")
	second := mustTake[Lines](t, KindLog, Log{File: path, From: first.Mark})
	if !slices.Equal(second.Lines, []string{"one", "two \uFFFD"}) {
		t.Errorf("%q", second.Lines)
	}
	appendTo(t, path, "f\n"+strings.Repeat("x", 5000)+"\n")
	third := mustTake[Lines](t, KindLog, Log{File: path, From: second.Mark})
	if len(third.Lines) != 2 || third.Lines[0] != "half" || len(third.Lines[1]) > maxLogLine+len("…") {
		t.Errorf("%.80q", third.Lines)
	}
	if again := mustTake[Lines](t, KindLog, Log{File: path, From: third.Mark}); len(again.Lines) != 0 || again.Mark != third.Mark {
		t.Errorf("nothing was added: %+v", again)
	}
	appendTo(t, path, strings.Repeat("many\n", maxLogRead/4))
	if cut := mustTake[Lines](t, KindLog, Log{File: path, From: third.Mark}); !cut.Cut {
		t.Error("more than one look reads, and it is not said")
	}
}

func TestLogRotatedInTheMiddle(t *testing.T) {
	for name, rotate := range map[string]func(path string) error{
		"renamed to elsewhere": func(path string) error {
			if err := os.Rename(path, filepath.Join(filepath.Dir(filepath.Dir(path)), "app.log.1")); err != nil {
				return err
			}
			// Longer than the old one, so that only the inode tells.
			return os.WriteFile(path, []byte("a much longer new first line of the new file\n"), 0o600)
		},
		"truncated": func(path string) error { return os.Truncate(path, 0) },
	} {
		path := filepath.Join(t.TempDir(), "app.log")
		appendTo(t, path, "a line\n")
		begin := mustTake[Lines](t, KindLog, Log{File: path})
		if err := rotate(path); err != nil {
			t.Fatal(err)
		}
		_, err := take[Lines](t, KindLog, Log{File: path, From: begin.Mark})
		if !errors.Is(err, ErrRotated) || !strings.Contains(err.Error(), "rotated") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := take[Lines](t, KindLog, Log{File: "/nowhere/app.log"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

// TestLogGoesOnThroughRotation: renamed, as logrotate and the kubelet do, with what the
// writer still puts into the old file, twice, and through a link.
func TestLogGoesOnThroughRotation(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "0.log"), filepath.Join(t.TempDir(), "billing.log")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	rotate := func(to string) {
		t.Helper()
		if err := os.Rename(path, filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	appendTo(t, path, "before\n")
	at := mustTake[Lines](t, KindLog, Log{File: link}).Mark
	look := func(want ...string) {
		t.Helper()
		got := mustTake[Lines](t, KindLog, Log{File: link, From: at})
		if !slices.Equal(got.Lines, want) || got.Cut {
			t.Errorf("%q, want %q", got.Lines, want)
		}
		at = got.Mark
	}
	appendTo(t, path, "one\n")
	rotate("0.log.20261124-090000")
	appendTo(t, path, "two\n")
	look("one", "two")
	appendTo(t, filepath.Join(dir, "0.log.20261124-090000"), "late\n")
	appendTo(t, path, "three\n")
	look("late", "three")
	look()
	rotate("0.log.20261124-090001")
	appendTo(t, filepath.Join(dir, "0.log.20261124-090001"), "four\n")
	appendTo(t, path, "five\n")
	look("four", "five")
	if err := os.Remove(filepath.Join(dir, "0.log.20261124-090001")); err != nil { // packed: it was read
		t.Fatal(err)
	}
	appendTo(t, path, "six\n")
	look("six")
}

// TestLogBetweenTwoFiles: the file was renamed and the new one is not there yet.
func TestLogBetweenTwoFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	appendTo(t, path, "before\n")
	mark := mustTake[Lines](t, KindLog, Log{File: path}).Mark
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path+".1", "late\n")
	got := mustTake[Lines](t, KindLog, Log{File: path, From: mark})
	if !slices.Equal(got.Lines, []string{"late"}) {
		t.Errorf("%q", got.Lines)
	}
	appendTo(t, path, "new\n")
	if got = mustTake[Lines](t, KindLog, Log{File: path, From: got.Mark}); !slices.Equal(got.Lines, []string{"new"}) {
		t.Errorf("%q", got.Lines)
	}
	if err := errors.Join(os.Remove(path), os.Remove(path+".1")); err != nil {
		t.Fatal(err)
	}
	if _, err := take[Lines](t, KindLog, Log{File: path, From: got.Mark}); !errors.Is(err, ErrRotated) {
		t.Errorf("both are gone: %v", err)
	}
}

func TestLogPattern(t *testing.T) {
	dir := t.TempDir()
	p := Log{File: filepath.Join(dir, "billing-*_prod_app-*.log")}
	if _, err := take[Lines](t, KindLog, p); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	path := filepath.Join(dir, "billing-7d9_prod_app-0af3.log")
	appendTo(t, path, "before\n")
	p.From = mustTake[Lines](t, KindLog, p).Mark
	appendTo(t, path, "one\n")
	if got := mustTake[Lines](t, KindLog, p); !slices.Equal(got.Lines, []string{"one"}) {
		t.Errorf("%q", got.Lines)
	}
	appendTo(t, filepath.Join(dir, "billing-8aa_prod_app-11.log"), "")
	if _, err := take[Lines](t, KindLog, p); !errors.Is(err, ErrParams) || !strings.Contains(err.Error(), "means 2 files") {
		t.Errorf("two files: %v", err)
	}
}

// TestContainerLogs: frames of container runtimes are taken off, and what they cut is put
// together again, also where the rest comes with a later look.
func TestContainerLogs(t *testing.T) {
	const at = "2026-11-24T09:00:00.123456789Z"
	const zone = "2026-11-24T09:00:00.1+01:00"
	path := filepath.Join(t.TempDir(), "0.log")
	appendTo(t, path, "")
	mark := mustTake[Lines](t, KindLog, Log{File: path}).Mark
	for i, tt := range []struct {
		add  string
		want []string
	}{
		{at + " stdout F lock not acquired\n" + zone + " stderr F  indented\n", []string{"lock not acquired", " indented"}},
		{at + " stdout P lock \n" + at + " stderr F other\n" + at + " stdout P not \n", nil}, // held until the rest is there
		{at + " stdout F acquired\n", []string{"other", "lock not acquired"}},
		{at + " stdout F\n" + at + " stdout F \n" + at + " stdout F:x tagged\n", []string{"tagged"}},
		{`{"log":"lock not ","stream":"stdout","time":"` + at + `"}` + "\n", nil},
		{`{"log":"acquired\n","stream":"stdout","attrs":{"a":"b"},"time":"` + at + `"}` + "\n", []string{"lock not acquired"}},
		{`{"log":"mine","level":"info"}` + "\n", []string{`{"log":"mine","level":"info"}`}},
		{`{"log":1}` + "\n{\n", []string{`{"log":1}`, "{"}},
		{"yesterday stdout F x\n" + at + " stdin F x\n" + at + " stdout Q x\n" + at + "\n", []string{"yesterday stdout F x", at + " stdin F x", at + " stdout Q x", at}},
	} {
		appendTo(t, path, tt.add)
		got := mustTake[Lines](t, KindLog, Log{File: path, From: mark})
		if !slices.Equal(got.Lines, tt.want) {
			t.Errorf("%d: %q, want %q", i, got.Lines, tt.want)
		}
		mark = got.Mark
	}
	// The kubelet rotates in the middle of a line.
	appendTo(t, path, at+" stdout P be\n")
	if err := os.Rename(path, path+".20261124-100000"); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, at+" stderr F between\n"+at+" stdout P g\n")
	held := mustTake[Lines](t, KindLog, Log{File: path, From: mark})
	appendTo(t, path, at+" stdout F un\n")
	got := mustTake[Lines](t, KindLog, Log{File: path, From: held.Mark})
	if len(held.Lines) > 0 || !slices.Equal(got.Lines, []string{"between", "begun"}) {
		t.Errorf("%q, then %q", held.Lines, got.Lines)
	}
}

// FuzzDecodeLines: nothing that stands in a log breaks the reader, and no line is both
// held and returned.
func FuzzDecodeLines(f *testing.F) {
	f.Add("2026-11-24T09:00:00Z stdout P a\n2026-11-24T09:00:00Z stdout F b\n{\"log\":\"x\",\"stream\":\"stderr\",\"time\":\"2026-11-24T09:00:00Z\"}\n")
	f.Fuzz(func(t *testing.T, text string) {
		var raw []rawLine
		for line := range strings.Lines(text) {
			raw = append(raw, rawLine{text: line})
		}
		lines, held := decodeLines(raw)
		if held < 0 || held > len(raw) || len(lines) > held {
			t.Errorf("%d lines of %d, held from %d", len(lines), len(raw), held)
		}
	})
}

// TestLogThatWasRemoved and made anew has lost lines, also where the new file has got the
// old one's number, as it does on most file systems.
func TestLogThatWasRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	appendTo(t, path, "")
	mark := mustTake[Lines](t, KindLog, Log{File: path}).Mark
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, "of the new file\n")
	if got, err := take[Lines](t, KindLog, Log{File: path, From: mark}); !errors.Is(err, ErrRotated) {
		t.Errorf("%+v, %v", got, err)
	}
}
