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
		"renamed": func(path string) error {
			if err := os.Rename(path, path+".1"); err != nil {
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
