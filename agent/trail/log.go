package trail

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

const (
	// maxFile and maxFiles bound the log to 64 MB, about 100 000 records.
	maxFile  = 4 << 20
	maxFiles = 16
	// lockWait is how long another writer may take: a record is written within
	// milliseconds.
	lockWait = time.Second
)

// Log appends to the log of a directory. Several processes may do so at once: an
// agent's guard, and a halt from the command line.
type Log struct {
	dir   string
	lock  *os.File
	limit int64
	keep  int

	mu    sync.Mutex
	file  *os.File // the current one, once something was written
	ino   uint64
	size  int64 // of the file when end was true
	end   end
	stale error // what the disk said when the last records were flushed
}

// Open makes the directory if need be. It needs no more rights than writing there.
func Open(dir string) (*Log, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	st, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	if st.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("open log: others may write to %s (mode %04o)", dir, st.Mode().Perm())
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockTo), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return &Log{dir: dir, lock: lock, limit: maxFile, keep: maxFiles}, nil
}

// Close flushes what was written.
func (l *Log) Close() error {
	err := l.Sync()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		err = errors.Join(err, l.file.Close())
		l.file = nil
	}
	return errors.Join(err, l.lock.Close())
}

// Append writes one record. It returns once the record is in the file, which
// survives the death of every process; Sync makes it survive that of the machine.
// An error means that the record is not there.
func (l *Log) Append(e Entry) (Record, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stale != nil {
		return Record{}, l.stale
	}
	unlock, err := lock(l.lock, unix.LOCK_EX)
	if err != nil {
		return Record{}, err
	}
	defer unlock()
	if err := l.follow(); err != nil {
		return Record{}, err
	}
	if t := l.end.torn; t != nil {
		if _, err := l.write(Entry{Who: e.Who, Event: Torn, Result: OK, TornLine: t,
			Detail: "a crash or a full disk cut the line above off"}); err != nil {
			return Record{}, err
		}
	}
	return l.write(e)
}

// follow opens the current file, and looks where the chain ends if another
// process has written since.
func (l *Log) follow() error {
	if l.file != nil {
		on, err := os.Stat(filepath.Join(l.dir, current))
		if err == nil && inode(on) == l.ino && on.Size() == l.size {
			return nil
		}
		_ = l.file.Close() // it was flushed, or Sync said that it could not be
		l.file = nil
	}
	end, err := lookAtEnd(l.dir)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(l.dir, current), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("open log: %w", err)
	}
	l.file, l.ino, l.size, l.end = f, inode(st), st.Size(), end
	return nil
}

func inode(st fs.FileInfo) uint64 { return st.Sys().(*syscall.Stat_t).Ino }

// write appends one line to the open file; the caller holds both locks.
func (l *Log) write(e Entry) (Record, error) {
	r := Record{Version: version, Seq: l.end.seq + 1, Time: time.Now().UTC(), Raw: inject.Now(), Entry: e, Prev: l.end.sum}
	var err error
	if r.BootID, err = inject.BootID(); err != nil {
		return Record{}, fmt.Errorf("write log: %w", err)
	}
	line, sum, err := encode(r)
	if err != nil {
		return Record{}, fmt.Errorf("write log: %w", err)
	}
	line = append(line, '\n')
	if l.end.open { // what is there has no end of line
		line = append([]byte{'\n'}, line...)
	} else if l.size > 0 && l.size+int64(len(line)) > l.limit {
		if err := l.rotate(); err != nil {
			return Record{}, err
		}
	}
	n, err := l.file.Write(line)
	if err != nil {
		// Nothing of it must stay, or it is told apart as torn by the next writer.
		if n > 0 {
			err = errors.Join(err, l.file.Truncate(l.size))
		}
		_ = l.file.Close()
		l.file = nil
		return Record{}, fmt.Errorf("write log: %w", err)
	}
	l.size += int64(n)
	l.end = end{seq: r.Seq, sum: sum}
	r.Sum = sum
	return r, nil
}

// rotate goes on in a new file, whose first record holds the sum of the old one's
// last. Where a file may only be appended to (chattr +a) it cannot be renamed, and
// simply grows.
func (l *Log) rotate() error {
	old := l.file
	if err := os.Rename(filepath.Join(l.dir, current), rotated(l.dir, l.end.seq)); err != nil {
		return nil
	}
	err := old.Sync()
	f, err2 := os.OpenFile(filepath.Join(l.dir, current), os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600)
	if err2 != nil {
		return fmt.Errorf("rotate log: %w", errors.Join(err, err2))
	}
	st, err2 := f.Stat()
	if err = errors.Join(err, err2, old.Close()); err != nil {
		f.Close()
		l.file = nil
		return fmt.Errorf("rotate log: %w", err)
	}
	l.file, l.ino, l.size = f, inode(st), 0
	list, err := files(l.dir)
	for ; err == nil && len(list) > l.keep; list = list[1:] {
		err = os.Remove(list[0])
	}
	if err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	return nil
}

// Sync waits until what was written is on the disk. Its error is also that of
// every Append after it: records that may be lost are not followed by others.
func (l *Log) Sync() error {
	l.mu.Lock()
	f := l.file
	if f == nil {
		l.mu.Unlock()
		return nil
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0) // so that a rotation does not wait for the disk
	l.mu.Unlock()
	if err == nil {
		err = unix.Fdatasync(fd)
		err = errors.Join(err, unix.Close(fd))
	}
	if err != nil {
		err = fmt.Errorf("flush log: %w", err)
		l.mu.Lock()
		l.stale = err
		l.mu.Unlock()
	}
	return err
}

// lock waits a little for another process, never for ever.
func lock(f *os.File, how int) (unlock func(), err error) {
	for limit := time.Now().Add(lockWait); ; time.Sleep(2 * time.Millisecond) {
		err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil {
			return func() { _ = unix.Flock(int(f.Fd()), unix.LOCK_UN) }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(limit) {
			return nil, fmt.Errorf("lock log: another process holds it for more than %v: %w", lockWait, err)
		}
	}
}
