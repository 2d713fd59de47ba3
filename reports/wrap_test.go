package reports

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestWrappedCommandsAreCopied: a shell reads the lines as the command that they were.
func TestWrappedCommandsAreCopied(t *testing.T) {
	for _, command := range []string{
		"lockaudit audit plan.yaml --probes partition-lock-servers --seed 7",
		"lockaudit inspect /a/b.yaml",
		`lockaudit audit 'my plans'\''s/a b.yaml' --probes pause-holder-past-ttl`,
	} {
		want, err := exec.Command("sh", "-c", "printf '%s\n' "+command).Output()
		if err != nil {
			t.Fatal(err)
		}
		for width := 40; width < 100; width++ {
			lines := wrapCommand(command, width)
			if slices.ContainsFunc(lines, func(l string) bool { return columns(l) > width }) {
				t.Errorf("wider than %d: %q", width, lines)
			}
			got, err := exec.Command("sh", "-c", "printf '%s\n' "+strings.Join(lines, "\n   ")).Output()
			if err != nil || string(got) != string(want) {
				t.Errorf("width %d: %q is read as %q, %v", width, lines, got, err)
			}
		}
	}
}
