package clock

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// memory is an open process: its memory, and where its vDSO lies. The file belongs
// to the address space that the process had when it was opened: after an exec, reads
// and writes fail instead of hitting the new program.
type memory struct {
	pid  int
	f    *os.File
	base int64
}

// openMemory opens exactly this process.
func openMemory(p inject.Process, write bool) (*memory, error) {
	mode := os.O_RDONLY
	if write {
		mode = os.O_RDWR
	}
	f, err := os.OpenFile("/proc/"+strconv.Itoa(p.PID)+"/mem", mode, 0)
	if err != nil {
		return nil, openError(p.PID, err)
	}
	m := &memory{pid: p.PID, f: f}
	s, err := inject.ReadStat(p.PID)
	if err == nil && (s.Dead() || s.StartTime != p.StartTime) {
		err = fmt.Errorf("process %d: %w", p.PID, inject.ErrGone)
	}
	if err == nil {
		err = m.findVDSO()
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return m, nil
}

func openError(pid int, err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH):
		return fmt.Errorf("process %d: %w", pid, inject.ErrGone)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("process %d: not permitted, CAP_SYS_PTRACE or the same user is needed: %w: %w", pid, err, inject.ErrUnsupported)
	}
	return err
}

func (m *memory) close() { m.f.Close() }

// atSysinfoEhdr is the auxiliary vector's entry for the address of the vDSO.
const atSysinfoEhdr = 33

// findVDSO reads the address of the vDSO from the auxiliary vector.
func (m *memory) findVDSO() error {
	auxv, err := os.ReadFile("/proc/" + strconv.Itoa(m.pid) + "/auxv")
	if err != nil {
		return openError(m.pid, err)
	}
	for ; len(auxv) >= 16; auxv = auxv[16:] {
		if le.Uint64(auxv) == atSysinfoEhdr {
			m.base = int64(le.Uint64(auxv[8:]))
		}
	}
	if m.base > 0 {
		return nil
	}
	if s, err := inject.ReadStat(m.pid); err != nil || s.Dead() {
		return fmt.Errorf("process %d: %w", m.pid, inject.ErrGone)
	}
	return fmt.Errorf("process %d has no 64-bit vDSO: %w", m.pid, inject.ErrUnsupported)
}

func (m *memory) read(offset, n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := m.f.ReadAt(b, m.base+int64(offset)); err != nil {
		return nil, m.failed("read", err)
	}
	return b, nil
}

// write changes the process's own copy of the page.
func (m *memory) write(offset int, b []byte) error {
	if _, err := m.f.WriteAt(b, m.base+int64(offset)); err != nil {
		return m.failed("write", err)
	}
	return nil
}

func (m *memory) failed(what string, err error) error {
	if s, e := inject.ReadStat(m.pid); e != nil || s.Dead() || errors.Is(err, io.EOF) {
		return fmt.Errorf("%s memory of process %d: it has ended or runs another program: %w", what, m.pid, inject.ErrGone)
	}
	if what == "read" && errors.Is(err, unix.EIO) {
		return fmt.Errorf("process %d has no vDSO where the kernel put it: %w", m.pid, inject.ErrUnsupported)
	}
	if what == "write" {
		return fmt.Errorf("write memory of process %d: %w (is the kernel booted with proc_mem.force_override?)", m.pid, err)
	}
	return fmt.Errorf("%s memory of process %d: %w", what, m.pid, err)
}

// found is what a process's vDSO holds.
type found struct {
	jumps int  // entries that lead into a stub
	stub  bool // the area holds a stub
	plan  uint64
}

func (f found) patched() bool { return f.jumps > 0 }

// look compares the process's vDSO with the clean one. Everything that is neither
// as the kernel made it nor a stub of ours, somebody else has changed: ErrRefused.
func (m *memory) look(own *image) (found, error) {
	now, err := m.read(0, len(own.clean))
	if err != nil {
		return found{}, err
	}
	if !bytes.Equal(now[:elfHeader], own.clean[:elfHeader]) {
		return found{}, fmt.Errorf("its vDSO is another one than the agent's (a 32-bit process?): %w", inject.ErrUnsupported)
	}
	var f found
	rest := append([]byte(nil), now...)
	area := rest[own.area:]
	f.stub = own.isStub(area[:len(own.stub)])
	if f.stub {
		f.plan = le.Uint64(area[stubPlan:])
		clear(area[:len(own.stub)])
	}
	for i, at := range own.entries {
		if entry := rest[at : at+jumpSize]; f.stub && bytes.Equal(entry, own.jump(i)) {
			f.jumps++
			copy(entry, own.clean[at:])
		}
	}
	if !bytes.Equal(rest, own.clean) {
		return found{}, fmt.Errorf("its vDSO was changed by somebody else: %w", inject.ErrRefused)
	}
	return f, nil
}

// elfHeader is the size of the ELF header, which tells one vDSO from another.
const elfHeader = 64

// isStub recognises a stub by its magic and by all of its code; the plan, the
// selector and the records are what differs.
func (im *image) isStub(area []byte) bool {
	return bytes.Equal(area[:stubPlan], im.stub[:stubPlan]) &&
		bytes.Equal(area[stubEntries:stubRecords], im.stub[stubEntries:stubRecords]) &&
		bytes.Equal(area[stubSkewedClockGettime:], im.stub[stubSkewedClockGettime:])
}

// monotonicAhead is how far the process's CLOCK_MONOTONIC is ahead of this one's, by
// their time namespaces.
func monotonicAhead(p inject.Process) (time.Duration, error) {
	their, err := timeOffset(strconv.Itoa(p.PID))
	if err != nil {
		// The files of a process that is ending answer with whatever comes first, no
		// permission among others, and before it is a zombie: its state decides.
		if s, e := inject.ReadStat(p.PID); errors.Is(e, inject.ErrGone) || e == nil && (s.Dead() || s.Exiting() || s.StartTime != p.StartTime) {
			err = fmt.Errorf("process %d: %w", p.PID, inject.ErrGone)
		}
		return 0, err
	}
	own, err := timeOffset("self")
	return their - own, err
}

func timeOffset(pid string) (time.Duration, error) {
	dir := "/proc/" + pid
	now, err := os.Readlink(dir + "/ns/time")
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil // a kernel without time namespaces, or the process is gone, which the next look tells
	}
	next, err2 := os.Readlink(dir + "/ns/time_for_children")
	b, err3 := os.ReadFile(dir + "/timens_offsets")
	if err := errors.Join(err, err2, err3); err != nil {
		return 0, fmt.Errorf("read time namespace: %w", err)
	}
	if now != next { // timens_offsets shows the other one
		return 0, fmt.Errorf("process %s has a time namespace for its children that is not its own: %w", pid, inject.ErrUnsupported)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "monotonic" {
			sec, err1 := strconv.ParseInt(f[1], 10, 64)
			nsec, err2 := strconv.ParseInt(f[2], 10, 64)
			return time.Duration(sec)*time.Second + time.Duration(nsec), errors.Join(err1, err2)
		}
	}
	return 0, fmt.Errorf("read time namespace: no monotonic offset: %w", inject.ErrGone) // it ended after it was opened
}
