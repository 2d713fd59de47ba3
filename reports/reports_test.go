package reports

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/checklist"
	"github.com/lockaudit/lockaudit/record"
)

var update = flag.Bool("update", false, "rewrite golden files")

var runs = []string{"etcd-ordered", "etcd-unfenced", "redis-single", "residue"}

func report(t *testing.T, name string) Report {
	t.Helper()
	run, err := record.Load(filepath.Join("testdata", "runs", name))
	if err != nil {
		t.Fatal(err)
	}
	if len(run.Damage) > 0 {
		t.Fatalf("fixture is damaged: %q", run.Damage)
	}
	findings := checklist.Judge(run)
	return New(run, findings, checklist.GradeOf(findings, run))
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; run with -update and read what changed. Got:\n%s", path, got)
	}
}

func TestTextGolden(t *testing.T) {
	for _, name := range runs {
		for _, width := range []int{60, 80, 120} {
			t.Run(fmt.Sprintf("%s-%d", name, width), func(t *testing.T) {
				var out bytes.Buffer
				if err := Text(&out, report(t, name), TextOptions{Width: width}); err != nil {
					t.Fatal(err)
				}
				golden(t, fmt.Sprintf("%s-%d.txt", name, width), out.Bytes())
			})
		}
	}
}

func TestJSONGolden(t *testing.T) {
	for _, name := range runs {
		var out bytes.Buffer
		if err := JSON(&out, report(t, name)); err != nil {
			t.Fatal(err)
		}
		golden(t, name+".json", out.Bytes())
	}
}

// TestTextNeverOverflows also with text that no wrapper likes.
func TestTextNeverOverflows(t *testing.T) {
	for _, name := range runs {
		for width := 40; width <= 160; width += 7 {
			r := report(t, name)
			r.Run.Subject.Name = strings.Repeat("a-name-without-end", 20)
			r.Damage = []string{strings.Repeat("x", 300), "日本語" + strings.Repeat("日", 100)}
			r.Findings[0].Summary = strings.Repeat("word ", 100) + strings.Repeat("y", 200)
			var out bytes.Buffer
			if err := Text(&out, r, TextOptions{Width: width, Color: true}); err != nil {
				t.Fatal(err)
			}
			limit := min(max(width, minWidth), maxWidth)
			for _, line := range strings.Split(out.String(), "\n") {
				if n := columns(line); n > limit {
					t.Fatalf("%s at %d: %d columns: %q", name, width, n, line)
				}
			}
		}
	}
}

// TestColourOnlyRepeats: without the escape codes both texts are the same.
func TestColourOnlyRepeats(t *testing.T) {
	var plain, colored bytes.Buffer
	r := report(t, "redis-single")
	if err := Text(&plain, r, TextOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := Text(&colored, r, TextOptions{Color: true}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(plain.String(), "\x1b") || !strings.Contains(colored.String(), "\x1b[1;31m") {
		t.Fatal("colour in the plain text, or none in the coloured one")
	}
	stripped := colored.String()
	for _, code := range []string{"0", "1", "2", "32", "33", "1;31", "1;32", "1;33"} {
		stripped = strings.ReplaceAll(stripped, "\x1b["+code+"m", "")
	}
	if stripped != plain.String() {
		t.Errorf("colour changes the text:\n%s", stripped)
	}
}

// TestForeignTextCannotDriveTheTerminal: error texts come from other programs.
func TestForeignTextCannotDriveTheTerminal(t *testing.T) {
	r := report(t, "residue")
	r.Run.Err = "evil\x1b[2J\r\nnewline\u009b1m"
	r.Residue[0].Node = "n\x1b]0;title\x07"
	r.Findings[0].Evidence = []checklist.Evidence{{Seq: 1, Actor: "a\x1b[1m", Text: "b\x1b[1m"}}
	r.Findings[0].Outcome = checklist.Fail
	var out bytes.Buffer
	if err := Text(&out, r, TextOptions{}); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x1b\x07\r\u009b") {
		t.Errorf("control characters in the report: %q", out.String())
	}
}
