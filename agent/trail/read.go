package trail

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Place is a line of a file.
type Place struct {
	File string `json:"file"`
	Line int    `json:"line"` // from 1
	Why  string `json:"why"`
}

func (p Place) String() string { return fmt.Sprintf("%s line %d: %s", p.File, p.Line, p.Why) }

// Chain is what reading a whole log found out about its chain.
type Chain struct {
	Dir     string `json:"dir"`
	Files   int    `json:"files"`
	Records int    `json:"records"`
	// First and Last are sequence numbers. A log whose First is not 1 has lost its
	// oldest files to rotation, or to somebody.
	First uint64 `json:"first,omitempty"`
	Last  uint64 `json:"last,omitempty"`
	// Head is the sum of the last record: kept elsewhere, it shows later that
	// nothing up to it was changed.
	Head string `json:"head,omitempty"`
	// Torn are lines that a crash or a full disk cut off; nothing is wrong with them.
	Torn []Place `json:"torn,omitempty"`
	// Broken is the first line that is not what was written there.
	Broken *Place `json:"broken,omitempty"`
}

// Read goes through the log of a directory, oldest first, calls fn with every
// record that can be read, and says whether the chain holds. Only what keeps it
// from reading is an error.
func Read(dir string, fn func(Record)) (Chain, error) {
	c := &checker{Chain: Chain{Dir: dir}, fn: fn}
	// A writer in the middle of a line would look like a crash.
	if f, err := os.Open(filepath.Join(dir, lockTo)); err == nil {
		defer f.Close()
		unlock, err := lock(f, unix.LOCK_SH)
		if err != nil {
			return c.Chain, err
		}
		defer unlock()
	} else if !errors.Is(err, os.ErrNotExist) {
		return c.Chain, fmt.Errorf("read log: %w", err)
	}
	list, err := files(dir)
	if err != nil {
		return c.Chain, err
	}
	for i, path := range list {
		if err := c.file(path, i == len(list)-1); err != nil {
			return c.Chain, err
		}
	}
	if c.torn != nil {
		c.breaks(*c.torn)
	}
	return c.Chain, nil
}

// checker follows the chain.
type checker struct {
	Chain
	fn   func(Record)
	prev string // sum of the last record; "" before the first
	// torn is a line that cannot be read and that the next record must account for.
	torn *Place
	rest []byte
}

func (c *checker) breaks(p Place) {
	if c.Broken == nil {
		c.Broken = &p
	}
}

func (c *checker) file(path string, last bool) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	defer f.Close()
	c.Files++
	r := bufio.NewReaderSize(f, maxLine)
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return fmt.Errorf("read log: %w", err)
		}
		at := Place{File: short(path), Line: n}
		whole := bytes.HasSuffix(line, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\n"))
		if len(line) > 0 || whole {
			c.line(at, line, last && !whole)
		}
		if err == io.EOF {
			return nil
		}
	}
}

// line checks one line; open means that it is the log's last and has no newline.
func (c *checker) line(at Place, line []byte, open bool) {
	r, err := Decode(line)
	switch {
	case err != nil && open && tornAt(line, c.Last+1):
		at.Why = fmt.Sprintf("cut off after %d bytes, by a crash or a full disk; nothing was written since", len(line))
		c.Torn = append(c.Torn, at)
		return
	case err != nil:
		if c.torn != nil {
			c.breaks(*c.torn)
		}
		at.Why = err.Error()
		c.torn, c.rest = &at, bytes.Clone(line)
		return
	}
	if c.torn != nil {
		t := r.TornLine
		if r.Event == Torn && t != nil && t.Bytes == len(c.rest) && t.SHA256 == hexSum(c.rest) {
			c.torn.Why = fmt.Sprintf("cut off after %d bytes, by a crash or a full disk; the chain goes on", t.Bytes)
			c.Torn = append(c.Torn, *c.torn)
		} else {
			c.breaks(*c.torn)
		}
		c.torn = nil
	}
	switch {
	case c.prev == "" && r.Seq == 1 && r.Prev != noSum:
		at.Why = "it is the first record and names one before"
		c.breaks(at)
	case c.prev == "":
		c.First = r.Seq
	case r.Seq != c.Last+1:
		at.Why = fmt.Sprintf("record %d follows record %d", r.Seq, c.Last)
		c.breaks(at)
	case r.Prev != c.prev:
		at.Why = "it does not hold the sum of the record before: that one, or this one, is not what was written"
		c.breaks(at)
	}
	if c.First == 0 {
		c.First = r.Seq
	}
	c.Records++
	c.Last, c.prev, c.Head = r.Seq, r.Sum, r.Sum
	c.fn(r)
}
