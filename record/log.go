package record

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// Log is the history of one probe. Its methods may be called by several goroutines.
type Log struct {
	now func() time.Duration

	mu   sync.Mutex
	file *os.File
	size int64 // bytes of whole lines
	seq  int
}

// History opens a new history for a probe. A probe has one history per run.
func (w *Writer) History(probe string) (*Log, error) {
	file, err := w.create(historyDir, probe)
	if err != nil {
		return nil, fmt.Errorf("create history: %w", err)
	}
	l := &Log{now: w.Now, file: file}
	if err := w.track(l); err != nil {
		return nil, fmt.Errorf("create history: %w", err)
	}
	return l, nil
}

// Agent opens the log of the orders to the agent on a node and its answers. Lines
// are written as they come; the caller takes secrets out.
func (w *Writer) Agent(node string) (io.WriteCloser, error) {
	file, err := w.create(agentsDir, node)
	if err != nil {
		return nil, fmt.Errorf("create agent log: %w", err)
	}
	a := &agentLog{file: file}
	if err := w.track(a); err != nil {
		return nil, fmt.Errorf("create agent log: %w", err)
	}
	return a, nil
}

func (w *Writer) create(dir, name string) (*os.File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	path := filepath.Join(w.dir, dir, name+lineExt)
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o644)
}

// track lets Seal close c. It closes c at once if the run is already sealed.
func (w *Writer) track(c io.Closer) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sealed {
		_ = c.Close() // nothing was written
		return ErrSealed
	}
	w.open = append(w.open, c)
	return nil
}

// Append writes e as the next line and returns it as written: with its Seq, and
// with the time now in At unless the caller has set one (above 0). There is no
// buffer, so what was appended survives a crash of the auditor.
//
// After an error (a full disk) nothing of e is in the file, the number is not used,
// and Append may be tried again.
func (l *Log) Append(e history.Event) (history.Event, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return e, fmt.Errorf("append event: %w", os.ErrClosed)
	}
	e.Seq = l.seq + 1
	if e.At <= 0 {
		e.At = l.now()
	}
	line := counter{w: l.file}
	if err := history.Encode(&line, e); err != nil {
		if line.n > 0 {
			// Half a line would join with the next one and make both unreadable.
			if terr := l.file.Truncate(l.size); terr != nil {
				err = fmt.Errorf("%w; take back half a line: %w", err, terr)
			}
		}
		return e, fmt.Errorf("append to %s: %w", l.file.Name(), err)
	}
	l.size += int64(line.n)
	l.seq = e.Seq
	return e, nil
}

// Close closes the history; closing twice is harmless.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// counter counts the bytes that a file has taken.
type counter struct {
	w io.Writer
	n int
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += n
	return n, err
}

// agentLog is a file that may be written by several goroutines and closed twice.
type agentLog struct {
	mu   sync.Mutex
	file *os.File
}

func (a *agentLog) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file == nil {
		return 0, fmt.Errorf("write agent log: %w", os.ErrClosed)
	}
	return a.file.Write(p)
}

func (a *agentLog) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file == nil {
		return nil
	}
	err := a.file.Close()
	a.file = nil
	return err
}
