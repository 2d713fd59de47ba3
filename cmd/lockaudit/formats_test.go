package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fixture is a recorded run.
func fixture(name string) string {
	return filepath.Join("..", "..", "reports", "testdata", "runs", name)
}

func command(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, err bytes.Buffer
	status = run(context.Background(), args, strings.NewReader(""), &out, &err)
	return out.String(), err.String(), status
}

func TestReportFormats(t *testing.T) {
	for format, ok := range map[string]func(string) bool{
		"text": func(s string) bool { return strings.Contains(s, "│ F │") },
		"html": func(s string) bool {
			return strings.HasPrefix(s, "<!DOCTYPE html>") && strings.HasSuffix(s, "</html>\n")
		},
		"md":    func(s string) bool { return strings.HasPrefix(s, "## lockaudit: F") },
		"json":  func(s string) bool { return json.Valid([]byte(s)) },
		"junit": func(s string) bool { return xml.Unmarshal([]byte(s), new(struct{})) == nil },
	} {
		out, notes, status := command(t, "report", fixture("etcd-unfenced"), "-f", format)
		if status != exitOK || !ok(out) {
			t.Errorf("%s: exit status %d %s\n%s", format, status, notes, out)
		}
		path := filepath.Join(t.TempDir(), "report")
		if out, _, status := command(t, "report", fixture("etcd-unfenced"), "-f", format, "-o", path); status != exitOK || out != "" {
			t.Errorf("%s -o: exit status %d, stdout %q", format, status, out)
		}
		if file, err := os.ReadFile(path); err != nil || string(file) != out {
			t.Errorf("%s: the file differs from stdout: %v", format, err)
		}
	}
	if _, notes, status := command(t, "report", fixture("residue"), "-o", filepath.Join(t.TempDir(), "no", "report")); status != exitCouldNotRun || !strings.Contains(notes, "write report") {
		t.Errorf("a file that cannot be written: exit status %d, %s", status, notes)
	}
}

// TestJudgeKeepsEveryFormat in the run directory, and the record stays whole.
func TestJudgeKeepsEveryFormat(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	if err := os.CopyFS(dir, os.DirFS(fixture("etcd-unfenced"))); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if out, notes, status := command(t, "judge", dir); status != exitFail || notes != "" || strings.Contains(out, "damaged") {
			t.Fatalf("exit status %d\n%s\n%s", status, out, notes)
		}
	}
	for _, name := range []string{"findings.json", "report.html", "report.json", "report.md", "report.txt", "report.xml"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDiff(t *testing.T) {
	bad, good := fixture("etcd-unfenced"), fixture("etcd-ordered")
	for _, tt := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{bad, good}, exitOK, "F → "},
		{[]string{good, bad}, exitFail, "the letter fell from"},
		{[]string{bad, bad}, exitOK, "0 worse, 0 better, 0 new, 0 gone"},
		{[]string{bad, good, "-f", "json"}, exitOK, `"worse": false`},
		{[]string{good, bad, "-f", "json"}, exitFail, `"worse": true`},
		{[]string{bad}, exitUsage, "needs RUN1 and RUN2"},
		{[]string{bad, good, "-f", "html"}, exitUsage, "text or json"},
		{[]string{bad, t.TempDir()}, exitCouldNotRun, "not a run directory"},
	} {
		out, notes, status := command(t, append([]string{"diff"}, tt.args...)...)
		if status != tt.status || !strings.Contains(out+notes, tt.want) {
			t.Errorf("diff %v: exit status %d, want %d with %q\n%s%s", tt.args, status, tt.status, tt.want, out, notes)
		}
	}
}
