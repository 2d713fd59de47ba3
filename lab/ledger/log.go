package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// logName is the log's file name in the ledger's directory.
const logName = "ledger.jsonl"

// line is one accepted write.
type line struct {
	Row   string `json:"row"`
	Value string `json:"value"`
	Token string `json:"token"`
	OpID  string `json:"op_id,omitempty"`
	Seq   uint64 `json:"seq"`
}

// log is an append-only file of lines. It is not safe for concurrent use.
type log struct {
	file *os.File
	end  int64 // offset behind the last whole line
	err  error // once set, nothing more is written
}

var errClosed = errors.New("log is closed")

// openLog replays the log in dir into apply. A last line that is torn was never
// answered, because an answer comes after the sync, so it is cut off; a damaged
// line anywhere else is an error.
func openLog(dir string, apply func(line)) (_ *log, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, logName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("lock log: in use by another ledger: %w", err)
	}
	data, err := io.ReadAll(file)
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	end, err := replay(data, apply)
	if err != nil {
		return nil, err
	}
	l := &log{file: file, end: end}
	if err := l.truncate(); err != nil {
		return nil, err
	}
	return l, syncDir(dir)
}

// replay applies every whole line and returns the offset behind the last one.
func replay(data []byte, apply func(line)) (end int64, err error) {
	for rest := data; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			break
		}
		var r line
		if err := json.Unmarshal(rest[:i], &r); err != nil {
			if i == len(rest)-1 {
				break
			}
			return 0, fmt.Errorf("replay log: offset %d: %w", end, err)
		}
		apply(r)
		rest, end = rest[i+1:], end+int64(i)+1
	}
	return end, nil
}

// append writes one line and returns once it is on disk.
func (l *log) append(r line) error {
	if l.err != nil {
		return l.err
	}
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode line: %w", err)
	}
	data = append(data, '\n')
	if _, err := l.file.WriteAt(data, l.end); err != nil {
		// Half a line may be there. Without it the log is as before; if it cannot
		// be removed, nothing may be written behind it.
		l.err = l.truncate()
		return fmt.Errorf("append line: %w", err)
	}
	if err := l.file.Sync(); err != nil {
		// After a failed sync the kernel may have dropped the pages, and a later
		// sync that succeeds would prove nothing.
		l.err = fmt.Errorf("sync log: %w", err)
		return l.err
	}
	l.end += int64(len(data))
	return nil
}

func (l *log) truncate() error {
	if err := l.file.Truncate(l.end); err != nil {
		return fmt.Errorf("cut log at offset %d: %w", l.end, err)
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("sync log: %w", err)
	}
	return nil
}

func (l *log) close() error {
	if errors.Is(l.err, errClosed) {
		return nil
	}
	l.err = errClosed
	return l.file.Close()
}

// syncDir makes the log's directory entry durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
