package crash

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// twin is by what a server that runs in place of the killed one is known: two must
// never be started, and "it runs again" is said only of what was found.
type twin struct {
	Exe string `json:"exe"`
	// Cmdline is what /proc shows, which is not what it was started with if
	// Rewritten.
	Cmdline   string `json:"cmdline"`
	Rewritten bool   `json:"rewritten,omitempty"`
	// Listens are the addresses on which it took connections, and Since is when that
	// was seen, in clock ticks since boot: whatever is older is not a replacement, and
	// of a server without a socket neither is what is just as old.
	Listens []string `json:"listens,omitempty"`
	Since   uint64   `json:"since"`
	// What a server without a socket is known by as well.
	UID    uint32 `json:"uid"`
	Dir    string `json:"dir"`
	Cgroup string `json:"cgroup,omitempty"`
}

// newTwin writes down a server that was named by a port, or in another way (0). By its
// port it is known afterwards, and not by others: it may hold some in one role and not in
// the next, as ZooKeeper's leader does on which its followers come.
func newTwin(p inject.Process, port int) (w twin, err error) {
	if w.Exe, err = exeOf(p.PID); err != nil {
		return w, fmt.Errorf("read program of process %d: %w", p.PID, err)
	}
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID) + "/cmdline")
	if err != nil {
		return w, fmt.Errorf("read command line of process %d: %w", p.PID, err)
	}
	w.Cmdline = string(bytes.TrimRight(raw, "\x00"))
	// A title that a program writes over its arguments is padded with zeros, or is
	// one argument with blanks in it.
	w.Rewritten = len(raw) > len(w.Cmdline)+1 || !strings.Contains(w.Cmdline, "\x00") && strings.Contains(w.Cmdline, " ")
	if w.Listens, err = listens(p.PID); err != nil {
		return w, err
	}
	if own := onPort(w.Listens, port); len(own) > 0 { // none: it is not one of TCP
		w.Listens = own
	}
	if w.Cmdline == "" && len(w.Listens) == 0 {
		// In the middle of its execve, say: the name is there before the command line.
		return w, fmt.Errorf("process %d shows no command line and listens on nothing, so nobody could know its replacement: %w", p.PID, inject.ErrUnsupported)
	}
	w.Since = ticksNow()
	if len(w.Listens) == 0 {
		if w.UID, w.Dir, w.Cgroup, err = placeOf(p.PID); err != nil {
			return w, err
		}
		// The like of it that is started until then is told from a replacement by its tick.
		for ticksNow() == w.Since {
			time.Sleep(time.Millisecond)
		}
	}
	return w, nil
}

// onPort are the addresses with that port.
func onPort(addrs []string, port int) []string {
	return slices.DeleteFunc(slices.Clone(addrs), func(a string) bool {
		at, err := netip.ParseAddrPort(a)
		return err != nil || int(at.Port()) != port
	})
}

func exeOf(pid int) (string, error) {
	exe, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	return strings.TrimSuffix(exe, " (deleted)"), err
}

// is compares a command line with the killed server's and with the command that
// starts it.
func (w twin) is(cmdline []byte, argv []string) bool {
	line := string(bytes.TrimRight(cmdline, "\x00"))
	return line != "" && (line == w.Cmdline || line == strings.Join(argv, "\x00"))
}

// seen is the line for people.
func (w twin) seen(p inject.Process) string {
	s := fmt.Sprintf("it runs as process %d", p.PID)
	if len(w.Listens) > 0 {
		s += ", listening on " + strings.Join(w.Listens, ", ")
	}
	return s
}

// listens are the TCP addresses on which a process takes connections, in its own
// network namespace.
func listens(pid int) ([]string, error) {
	proc := "/proc/" + strconv.Itoa(pid)
	fds, err := os.ReadDir(proc + "/fd")
	if err != nil {
		return nil, fmt.Errorf("read descriptors of process %d: %w", pid, err)
	}
	own := map[string]bool{}
	for _, fd := range fds {
		link, _ := os.Readlink(proc + "/fd/" + fd.Name())
		if inode, ok := strings.CutPrefix(link, "socket:["); ok {
			own[strings.TrimSuffix(inode, "]")] = true
		}
	}
	var out []string
	for _, file := range []string{"/net/tcp", "/net/tcp6"} {
		b, err := os.ReadFile(proc + file)
		if errors.Is(err, os.ErrNotExist) && len(own) > 0 {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("read sockets of process %d: %w", pid, err)
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != "0A" || !own[f[9]] { // TCP_LISTEN
				continue
			}
			if a, err := parseAddr(f[1]); err == nil {
				out = append(out, a.String())
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// parseAddr reads 0100007F:1F90 of /proc/net/tcp: words in the machine's order.
func parseAddr(s string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(s, ":")
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil || len(host) != 8 && len(host) != 32 {
		return netip.AddrPort{}, fmt.Errorf("parse address %q", s)
	}
	b := make([]byte, 0, 16)
	for i := 0; i < len(host); i += 8 {
		word, err := strconv.ParseUint(host[i:i+8], 16, 32)
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("parse address %q: %w", s, err)
		}
		b = binary.NativeEndian.AppendUint32(b, uint32(word))
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a, uint16(n)), nil
}

// ticksNow is the time since boot in clock ticks, as field 22 of stat counts it:
// USER_HZ = 100 on every architecture that Go runs on.
func ticksNow() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("clock_gettime: " + err.Error()) // it exists on every Linux
	}
	return uint64(time.Duration(ts.Nano()) / (10 * time.Millisecond))
}
