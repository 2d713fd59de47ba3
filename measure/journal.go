package measure

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// journalctl is the command that reads the journal. The files are systemd's own, and
// change with its version (compression, keyed hashes, compact form); a reader in Go needs
// libsystemd by cgo, which a static agent has not. It is run with fixed arguments and no
// shell, and only reads.
const journalctl = "journalctl"

// journalLimit bounds one look; it takes some 10 ms.
const journalLimit = 10 * time.Second

var (
	// unitPattern leaves out what journalctl would take for a pattern.
	unitPattern   = regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]{1,255}$`)
	cursorPattern = regexp.MustCompile(`^[0-9a-z=;]{1,400}$`)
)

// noCursor marks a journal that was empty.
const noCursor = "empty"

// readJournal returns what a unit has logged since the mark: its stdout and stderr, what
// it sends to the journal or to syslog, and what systemd says of it.
func readJournal(ctx context.Context, p Log) (Lines, error) {
	if p.File != "" || !unitPattern.MatchString(p.Unit) || strings.HasPrefix(p.Unit, "-") {
		return Lines{}, fmt.Errorf("unit %q is not the name of a unit: %w", p.Unit, ErrParams)
	}
	unit := "--unit=" + p.Unit
	if p.From == "" {
		// A unit of which the journal knows nothing would be silent whatever happens.
		known, err := journal(ctx, "--lines=1", unit)
		if err != nil {
			return Lines{}, err
		}
		if len(known.entries) == 0 {
			return Lines{}, fmt.Errorf("read journal: it has no entry of unit %s, not even of its start", p.Unit)
		}
		last, err := journal(ctx, "--lines=1")
		if err != nil {
			return Lines{}, err
		}
		return Lines{Mark: last.cursor(noCursor)}, nil
	}
	args := []string{unit, "--all"} // --all: also what is long or not printable
	if p.From != noCursor {
		if !cursorPattern.MatchString(p.From) {
			return Lines{}, fmt.Errorf("mark %q: %w", p.From, ErrParams)
		}
		args = append(args, "--after-cursor="+p.From)
	}
	read, err := journal(ctx, args...)
	if err != nil {
		return Lines{}, err
	}
	out := Lines{Mark: read.cursor(p.From), Cut: read.cut}
	for _, e := range read.entries {
		for line := range strings.Lines(e.text()) { // one message may have several
			if line = trimLine(line); line != "" {
				out.Lines = append(out.Lines, line)
			}
		}
	}
	return out, nil
}

// entry is one of the journal's, as journalctl -o json writes it.
type entry struct {
	Cursor  string          `json:"__CURSOR"`
	Message json.RawMessage `json:"MESSAGE"`
}

// text is the message: a string, or a list of bytes where it is not valid UTF-8.
func (e entry) text() string {
	var s string
	if json.Unmarshal(e.Message, &s) == nil {
		return s
	}
	var numbers []int
	if json.Unmarshal(e.Message, &numbers) != nil {
		return ""
	}
	b := make([]byte, len(numbers))
	for i, n := range numbers {
		b[i] = byte(n)
	}
	return string(b)
}

type entries struct {
	entries []entry
	cut     bool
}

// cursor is that of the newest entry, otherwise the one that was had.
func (e entries) cursor(had string) string {
	if n := len(e.entries); n > 0 {
		return e.entries[n-1].Cursor
	}
	return had
}

func journal(ctx context.Context, args ...string) (entries, error) {
	ctx, cancel := context.WithTimeout(ctx, journalLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, journalctl, append([]string{"--no-pager", "--output=json", "--output-fields=MESSAGE"}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "SYSTEMD_COLORS=0"}
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return entries{}, fmt.Errorf("read journal: %w", err)
	}
	var read entries
	lines := bufio.NewReader(io.LimitReader(out, 4*maxLogRead)) // a line of the journal is longer than its message
	for {
		line, end := lines.ReadBytes('\n')
		var e entry
		switch {
		case end != nil:
		case json.Unmarshal(line, &e) != nil || e.Cursor == "":
			end = fmt.Errorf("read journal: %s wrote %.80q", journalctl, line)
		default:
			read.entries = append(read.entries, e)
			continue
		}
		// What is cut off in the middle was too much for one look.
		if read.cut = errors.Is(end, io.EOF) && len(line) > 0; read.cut || !errors.Is(end, io.EOF) {
			_ = cmd.Process.Kill()
		}
		failed := cmd.Wait()
		switch {
		case !errors.Is(end, io.EOF):
			return entries{}, end
		case read.cut:
			return read, nil
		}
		return read, complaint(failed, log.String())
	}
}

// complaint is what journalctl had to say. Without the rights it shows the caller's own
// messages only, and succeeds: that must not be taken for silence.
func complaint(failed error, said string) error {
	said = strings.Join(strings.Fields(said), " ")
	switch {
	case strings.Contains(said, "not seeing messages"), strings.Contains(said, "insufficient permissions"):
		return errors.New("read journal: the agent may not: it needs root or the group systemd-journal")
	case failed != nil && said != "":
		return fmt.Errorf("read journal: %w: %.200s", failed, said)
	case failed != nil:
		return fmt.Errorf("read journal: %w", failed)
	}
	return nil
}
