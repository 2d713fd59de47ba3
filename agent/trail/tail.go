package trail

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

const (
	current = "agent.jsonl"
	lockTo  = "lock"
)

// files are the log's files, oldest first; the current one is the last, if it is
// there.
func files(dir string) ([]string, error) {
	old, err := filepath.Glob(filepath.Join(dir, "agent-*.jsonl"))
	if err != nil {
		return nil, err
	}
	sort.Strings(old) // the number in a name has leading zeros
	if _, err := os.Lstat(filepath.Join(dir, current)); err == nil {
		old = append(old, filepath.Join(dir, current))
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read log: %w", err)
	}
	return old, nil
}

func rotated(dir string, last uint64) string {
	return filepath.Join(dir, fmt.Sprintf("agent-%012d.jsonl", last))
}

// end is where a chain ends: what the next record continues.
type end struct {
	seq  uint64
	sum  string
	torn *TornLine // bytes behind the last whole line
	open bool      // the last line has no newline
}

// lookAtEnd finds the end of the chain. A last line that is whole and wrong is an
// error: what would be appended to it could not be trusted either.
func lookAtEnd(dir string) (end, error) {
	list, err := files(dir)
	if err != nil {
		return end{}, err
	}
	e := end{sum: noSum}
	for i := len(list) - 1; i >= 0; i-- {
		found, err := endOf(list[i], &e)
		if err != nil || found {
			return e, err
		}
	}
	return e, nil
}

// Head is where the log of a directory ends: the number of its last record and its
// sum. Kept elsewhere, it shows later whether what was there then is still so.
func Head(dir string) (seq uint64, sum string, err error) {
	e, err := lookAtEnd(dir)
	return e.seq, e.sum, err
}

// endOf reads the end of one file; found means that it holds a record.
func endOf(path string, e *end) (found bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("read log: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("read log: %w", err)
	}
	// Two lines fit: a whole one and a torn one.
	from := max(st.Size()-3*maxLine, 0)
	b, err := io.ReadAll(io.NewSectionReader(f, from, st.Size()-from))
	if err != nil {
		return false, fmt.Errorf("read log: %w", err)
	}
	whole, rest := b, []byte(nil)
	if at := bytes.LastIndexByte(b, '\n'); at >= 0 {
		whole, rest = b[:at], b[at+1:]
	} else {
		whole, rest = nil, b
	}
	if len(rest) > 0 {
		e.open = true
		if r, err := Decode(rest); err == nil { // only its newline is missing
			e.seq, e.sum = r.Seq, r.Sum
			return true, nil
		}
		e.torn = &TornLine{Bytes: len(rest), SHA256: hexSum(rest)}
	}
	if len(whole) == 0 {
		return false, nil
	}
	last := whole[bytes.LastIndexByte(whole, '\n')+1:]
	r, err := Decode(last)
	if err != nil {
		return false, fmt.Errorf("%w: last line of %s: %w", ErrDamaged, path, err)
	}
	e.seq, e.sum = r.Seq, r.Sum
	return true, nil
}

// tornAt says whether a line without an end can be what a crash left of record seq:
// its beginning, or zeros where the file system had made room and no more.
func tornAt(line []byte, seq uint64) bool {
	line = bytes.TrimRight(line, "\x00")
	begin := fmt.Appendf(nil, `{"v":%d,"seq":%d,`, version, seq)
	n := min(len(line), len(begin))
	return bytes.Equal(line[:n], begin[:n])
}

// ErrDamaged: the log's last record is not one that was written here.
var ErrDamaged = errors.New("the log is damaged at its end; lockaudit agent-log --verify says more; move its files away to begin a new one")

func short(path string) string { return strings.TrimPrefix(filepath.Base(path), "./") }
