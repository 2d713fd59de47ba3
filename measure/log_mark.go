package measure

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// place is how far a log file was read: which file, and to where. born is when it was
// made, in ns, 0 where the file system does not keep it: the number of a file that is
// removed is given to the next one.
type place struct {
	device, inode uint64
	born          int64
	offset        int64

	// Only during a look:
	file  *os.File
	size  int64
	older bool // it was renamed before the last look already
}

func (p place) String() string {
	return fmt.Sprintf("%d:%d:%d:%d", p.device, p.inode, p.born, p.offset)
}

func (p place) same(q place) bool {
	return p.device == q.device && p.inode == q.inode && p.born == q.born
}

// bornAt is when a file was made.
func bornAt(f *os.File) int64 {
	var st unix.Statx_t
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &st); err != nil || st.Mask&unix.STATX_BTIME == 0 {
		return 0
	}
	return st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
}

// markOf writes places down, the oldest first: a file that was renamed, and the one that
// took its place.
func markOf(places []place) string {
	var out []string
	for _, p := range places {
		out = append(out, p.String())
	}
	return strings.Join(out, ",")
}

func parseMark(s string) ([]place, error) {
	var out []place
	for text := range strings.SplitSeq(s, ",") {
		var p place
		if n, err := fmt.Sscanf(text, "%d:%d:%d:%d", &p.device, &p.inode, &p.born, &p.offset); n != 4 || err != nil || p.offset < 0 || len(out) == marked {
			return nil, fmt.Errorf("mark %q: %w", s, ErrParams)
		}
		out = append(out, p)
	}
	out[0].older = len(out) == marked
	return out, nil
}
