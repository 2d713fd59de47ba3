package measure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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

// ErrRotated: the file at the path is not the one of the last look, and that one is not
// beside it either, so that lines may have been missed.
var ErrRotated = errors.New("the log was rotated or truncated meanwhile")

// Lines is what a log gained.
type Lines struct {
	// Mark is where the next look begins.
	Mark  string   `json:"mark"`
	Lines []string `json:"lines,omitempty"`
	// Cut: there was more than one look reads; the rest is left out.
	Cut bool `json:"cut,omitempty"`
}

// readLog returns the whole lines that a log gained since the mark.
func readLog(ctx context.Context, p Log) (Lines, error) {
	if p.Unit != "" {
		return readJournal(ctx, p)
	}
	return readFile(p)
}

// readFile reads a file on through its rotation: it is renamed and a new one made, as
// logrotate and the kubelet do. What the writer still puts into the old one, until it has
// opened the new one, is read too. A last line without its end is left for the next look.
func readFile(p Log) (Lines, error) {
	if !filepath.IsAbs(p.File) {
		return Lines{}, fmt.Errorf("log file %q is not an absolute path: %w", p.File, ErrParams)
	}
	path, err := onlyMatch(p.File)
	if err != nil {
		return Lines{}, err
	}
	f, here, err := openLog(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && p.From != "":
		// Renamed, and the new one is not there yet.
	case err != nil:
		return Lines{}, err // names the file and says what failed
	default:
		defer f.Close()
	}
	if p.From == "" {
		here.offset = here.size
		return Lines{Mark: here.String()}, nil
	}
	places, err := parseMark(p.From)
	if err != nil {
		return Lines{}, err
	}
	if last := &places[len(places)-1]; f != nil && last.same(here) {
		last.file, last.size = f, here.size
	} else if f != nil {
		here.file = f
		places = append(places, here)
	}
	found := places[:0]
	for i := range places {
		at := &places[i]
		if at.file == nil {
			if at.file, at.size = findRenamed(path, *at); at.file != nil {
				defer at.file.Close()
			}
		}
		switch {
		case at.file == nil && at.older:
			continue // it was read to its end when the newer one was there already, and is gone
		case at.file == nil, at.offset > at.size:
			return Lines{}, fmt.Errorf("%s: %w", p.File, ErrRotated)
		}
		found = append(found, *at)
	}
	return since(found)
}

// onlyMatch is the file that a pattern means: containers have names that nobody can
// write into a plan beforehand.
func onlyMatch(pattern string) (string, error) {
	if !strings.ContainsAny(pattern, "*?[") {
		return pattern, nil
	}
	all, err := filepath.Glob(pattern)
	switch {
	case err != nil:
		return "", fmt.Errorf("log file %q: %w: %w", pattern, err, ErrParams)
	case len(all) == 0:
		return "", fmt.Errorf("log file %q: %w", pattern, fs.ErrNotExist)
	case len(all) > 1:
		return "", fmt.Errorf("log file %q means %d files, %s among them: %w", pattern, len(all), strings.Join(all[:2], " and "), ErrParams)
	}
	return all[0], nil
}

// openLog opens a file for reading alone. A FIFO or a device must not block or be
// consumed by being looked at.
func openLog(path string) (*os.File, place, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, place{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, place{}, errors.Join(err, f.Close())
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return nil, place{}, errors.Join(fmt.Errorf("%s is not a regular file: %w", path, ErrParams), f.Close())
	}
	return f, place{device: st.Dev, inode: st.Ino, born: bornAt(f), size: info.Size()}, nil
}

// findRenamed looks for a file of the last look beside the path, under whatever name.
func findRenamed(path string, at place) (*os.File, int64) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // /var/log/containers/… is a link to where the kubelet rotates
	}
	dir := filepath.Dir(path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, 0
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || !info.Mode().IsRegular() || info.Sys().(*syscall.Stat_t).Ino != at.inode {
			continue
		}
		f, there, err := openLog(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		if there.same(at) {
			return f, there.size
		}
		_ = f.Close()
	}
	return nil, 0
}

// marked is how many files a mark holds: the log, and the one before it.
const marked = 2

// since reads what the files have gained, the oldest first.
func since(places []place) (Lines, error) {
	var raw []rawLine
	began := slices.Clone(places)
	left, cut := int64(maxLogRead), false
	for i := range places {
		at := &places[i]
		n := min(at.size-at.offset, left)
		cut = cut || at.size-at.offset > left
		left -= n
		data := make([]byte, n)
		if _, err := at.file.ReadAt(data, at.offset); err != nil && !errors.Is(err, io.EOF) {
			return Lines{}, err
		}
		start := at.offset
		for end := bytes.IndexByte(data, '\n') + 1; end > 0; end = bytes.IndexByte(data, '\n') + 1 {
			raw = append(raw, rawLine{text: string(data[:end]), place: i, start: start})
			data, start = data[end:], start+int64(end)
		}
		at.offset = start
	}
	lines, held := decodeLines(raw)
	// What belongs to a line that has not ended yet is read again, with all that follows.
	if held < len(raw) && !cut {
		for i := range places {
			switch {
			case i == raw[held].place:
				places[i].offset = raw[held].start
			case i > raw[held].place:
				places[i].offset = began[i].offset
			}
		}
	}
	out := Lines{Cut: cut}
	for i := range places {
		if cut {
			places[i].offset = places[i].size
		}
	}
	out.Mark = markOf(places[max(0, len(places)-marked):])
	for _, line := range lines {
		if line = trimLine(line); line != "" {
			out.Lines = append(out.Lines, line)
		}
	}
	return out, nil
}

// trimLine makes a line fit for the record.
func trimLine(line string) string {
	line = strings.ToValidUTF8(strings.TrimRight(line, "\r\n"), "\uFFFD")
	if len(line) > maxLogLine {
		line = strings.ToValidUTF8(line[:maxLogLine], "") + "…"
	}
	return line
}
