package lockaudit

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// What a guide's comment promises: a letter, an exit status, or both.
var (
	wantedLetter = regexp.MustCompile(`# ([A-F])(?:, status \d+)?$`)
	wantedStatus = regexp.MustCompile(`status (\d+)$`)
)

// TestGuidesAreRunAsWritten types every command of the guides about labs, in their order,
// and compares letter and exit status with what they promise; 0 where they promise none.
func TestGuidesAreRunAsWritten(t *testing.T) {
	bin := programs(t)
	for _, guide := range []string{"pre-launch-lab.md", "game-day.md"} {
		t.Run(guide, func(t *testing.T) {
			u := newUser(t, bin, os.Geteuid())
			for name, to := range map[string]string{"bin": bin, "examples": "examples"} {
				path, err := filepath.Abs(to)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(path, filepath.Join(u.home, name)); err != nil {
					t.Fatal(err)
				}
			}
			ran := 0
			for _, line := range guideCommands(t, filepath.Join("docs", "guides", guide)) {
				if strings.HasPrefix(line, "make build") {
					continue // programs has done that
				}
				wrong := u.asPromised(t, line)
				if wrong != "" && strings.HasPrefix(line, "lockaudit audit") {
					// A machine that stood still shows less than it should, once.
					t.Logf("again: %s", wrong)
					wrong = u.asPromised(t, line)
				}
				if wrong != "" {
					t.Fatal(wrong)
				}
				ran++
			}
			if ran < 12 {
				t.Errorf("only %d commands were run", ran)
			}
		})
	}
}

// asPromised runs a line and says what is not as its comment has it. The record of an
// audit that is not is removed: later commands go by how many there are.
func (u user) asPromised(t *testing.T, line string) (wrong string) {
	t.Helper()
	records := filepath.Join(u.home, "runs", "*")
	before, err := filepath.Glob(records)
	if err != nil {
		t.Fatal(err)
	}
	out, status := u.shell(t, line)
	want := "0"
	if m := wantedStatus.FindStringSubmatch(line); m != nil {
		want = m[1]
	}
	if fmt.Sprint(status) != want {
		wrong = fmt.Sprintf("%s\nexit status %d, want %s\n%s", line, status, want, out)
	}
	if m := wantedLetter.FindStringSubmatch(line); m != nil && !strings.Contains(out, "│ "+m[1]+" │") {
		wrong = fmt.Sprintf("%s\nno letter %s\n%s", line, m[1], out)
	}
	if wrong == "" {
		return ""
	}
	after, err := filepath.Glob(records)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range after {
		if !slices.Contains(before, dir) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	return wrong
}

// guideCommands are the indented lines of a guide, and no others of it are commands.
func guideCommands(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	fenced := false
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if command, ok := strings.CutPrefix(line, "    "); ok && !fenced {
			out = append(out, strings.TrimSpace(command))
		}
	}
	return out
}

// shell types a line in the user's folder.
func (u user) shell(t *testing.T, line string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir = u.home
	cmd.Env = []string{"PATH=" + u.bin + ":" + os.Getenv("PATH"), "HOME=" + u.home, "LOCKLAB_DIR=" + filepath.Join(u.home, "labs")}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatalf("%s: %v", line, err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}
