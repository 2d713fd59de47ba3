package measure

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/inject/target/systemdtest"
)

// journald is the real one, on a machine of the test's own: the sockets that units log
// to are made by itself, as it does without socket activation.
const journald = `[Service]
ExecStart=/lib/systemd/systemd-journald
Type=notify
StandardOutput=null
`

// TestJournal reads what real units log by way of the real journald.
func TestJournal(t *testing.T) {
	systemdtest.Run(t, func(t *testing.T, m *systemdtest.Machine) {
		m.Start(t, "systemd-journald.service", journald)
		until(t, "journald listens", func() bool { _, err := os.Stat("/run/systemd/journal/stdout"); return err == nil })
		pipes := map[string]*os.File{}
		for _, name := range []string{"billing", "other"} {
			pipe := "/run/say-" + name
			if err := syscall.Mkfifo(pipe, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(pipe, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = f.Close() })
			pipes[name] = f
			m.Start(t, name+".service", "[Service]\nExecStart=/bin/cat "+pipe+"\nStandardOutput=journal\n")
		}
		say := func(unit, text string) {
			t.Helper()
			if _, err := pipes[unit].WriteString(text + "\n"); err != nil {
				t.Fatal(err)
			}
		}
		p := Log{Unit: "billing.service"}
		say("billing", "started") // systemd itself logs to the console here
		until(t, "the start of the unit is in the journal", func() bool {
			first, err := take[Lines](t, KindLog, p)
			p.From = first.Mark
			return err == nil && first.Mark != "" && len(first.Lines) == 0
		})
		var got []string
		look := func(last string) {
			t.Helper()
			got = nil
			until(t, last+" is in the journal", func() bool {
				lines := mustTake[Lines](t, KindLog, p)
				if lines.Mark == "" {
					t.Fatal("no mark")
				}
				p.From = lines.Mark
				got = append(got, lines.Lines...)
				return len(got) > 0 && got[len(got)-1] == last
			})
		}
		say("billing", "one")
		look("one") // and whatever of the start came after the mark
		say("other", "not mine")
		say("billing", "lock not acquired \xe9") // é as Latin-1, which is not UTF-8
		look("lock not acquired \uFFFD")
		if len(got) != 1 {
			t.Errorf("%q", got)
		}
		say("other", "not mine either")
		say("billing", strings.Repeat("x", 3000))
		say("billing", "last")
		look("last")
		if len(got) != 2 || len(got[0]) > maxLogLine+len("…") || slices.Contains(got, "not mine either") {
			t.Errorf("%.60q", got)
		}
		if again := mustTake[Lines](t, KindLog, p); len(again.Lines) > 0 || again.Mark != p.From {
			t.Errorf("nothing was added: %+v", again)
		}
		if _, err := take[Lines](t, KindLog, Log{Unit: "biling.service"}); err == nil || !strings.Contains(err.Error(), "no entry of unit biling.service") {
			t.Errorf("a unit that is not there: %v", err)
		}
		journalNeedsRights(t)
	})
}

// journalNeedsRights: who may not read the journal is told so, and not that it is silent.
func journalNeedsRights(t *testing.T) {
	t.Helper()
	cmd := exec.Command(journalctl, "--no-pager", "--output=json", "--lines=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")}
	out, failed := cmd.CombinedOutput()
	if err := complaint(failed, string(out)); err == nil || !strings.Contains(err.Error(), "systemd-journal") {
		t.Errorf("as nobody: %v, %q", err, out)
	}
}

// until waits for a state of another process.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 2 m", what)
		}
	}
}

func TestJournalRefuses(t *testing.T) {
	for _, p := range []Log{
		{Unit: "billing*"}, {Unit: "--root=/x"}, {Unit: "-x"}, {Unit: "a b"}, {Unit: "a\nb"}, {Unit: "b.service", File: "/var/log/x"},
		{Unit: "b.service", From: "--since=x"}, {Unit: "b.service", From: "s=1;\n"},
	} {
		if _, err := take[Lines](t, KindLog, p); !errors.Is(err, ErrParams) {
			t.Errorf("%+v: %v", p, err)
		}
	}
	for said, want := range map[string]string{
		"":                      "",
		"journal is 3 days old": "", // it read all the same
		"Hint: You are currently not seeing messages from other users and the system.": "group systemd-journal",
		"No journal files were opened due to insufficient permissions.":                "group systemd-journal",
	} {
		if err := complaint(nil, said); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", said, err)
		}
	}
}
