package measure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	// maxLogRead bounds what one look reads: a log that grows faster is not read
	// to the end, and the result says so.
	maxLogRead = 256 << 10
	// maxLogLine bounds a line in the record.
	maxLogLine = 1000
)

// ErrRotated: the file at the path is not the one of the last look, so that lines
// may have been missed.
var ErrRotated = errors.New("the log was rotated or truncated meanwhile")

// Lines is what a log file gained.
type Lines struct {
	// Mark is where the next look begins.
	Mark  string   `json:"mark"`
	Lines []string `json:"lines,omitempty"`
	// Cut: there was more than one look reads; the rest is left out.
	Cut bool `json:"cut,omitempty"`
}

// mark is a place in a file: which file, and how far.
type mark struct {
	device, inode uint64
	offset        int64
}

func (m mark) String() string { return fmt.Sprintf("%d:%d:%d", m.device, m.inode, m.offset) }

func parseMark(s string) (mark, error) {
	var m mark
	if n, err := fmt.Sscanf(s, "%d:%d:%d", &m.device, &m.inode, &m.offset); n != 3 || err != nil || m.offset < 0 {
		return mark{}, fmt.Errorf("mark %q: %w", s, ErrParams)
	}
	return m, nil
}

// readLog returns the whole lines that the file gained since the mark. A last
// line without its end is left for the next look.
func readLog(_ context.Context, p Log) (Lines, error) {
	if !filepath.IsAbs(p.File) {
		return Lines{}, fmt.Errorf("log file %q is not an absolute path: %w", p.File, ErrParams)
	}
	// A FIFO or a device must not block or be consumed by being looked at.
	f, err := os.OpenFile(p.File, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return Lines{}, err // names the file and says what failed
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Lines{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return Lines{}, fmt.Errorf("%s is not a regular file: %w", p.File, ErrParams)
	}
	here := mark{device: st.Dev, inode: st.Ino, offset: info.Size()}
	if p.From == "" {
		return Lines{Mark: here.String()}, nil
	}
	from, err := parseMark(p.From)
	if err != nil {
		return Lines{}, err
	}
	if from.device != here.device || from.inode != here.inode || from.offset > here.offset {
		return Lines{}, fmt.Errorf("%s: %w", p.File, ErrRotated)
	}
	return since(f, from, here)
}

func since(f *os.File, from, here mark) (Lines, error) {
	n := min(here.offset-from.offset, maxLogRead)
	data := make([]byte, n)
	if _, err := f.ReadAt(data, from.offset); err != nil && !errors.Is(err, io.EOF) {
		return Lines{}, err
	}
	whole := bytes.LastIndexByte(data, '\n') + 1
	out := Lines{Cut: here.offset-from.offset > maxLogRead}
	from.offset += int64(whole)
	if out.Cut {
		from.offset = here.offset
	}
	out.Mark = from.String()
	for line := range strings.Lines(string(data[:whole])) {
		line = strings.ToValidUTF8(strings.TrimRight(line, "\r\n"), "\uFFFD")
		if len(line) > maxLogLine {
			line = strings.ToValidUTF8(line[:maxLogLine], "") + "…"
		}
		if line != "" {
			out.Lines = append(out.Lines, line)
		}
	}
	return out, nil
}
