package measure

import (
	"fmt"
	"os"
	"strings"
)

// place is how far a log file was read: which file, and to where.
type place struct {
	device, inode uint64
	offset        int64

	// Only during a look:
	file  *os.File
	size  int64
	older bool // it was renamed before the last look already
}

func (p place) String() string { return fmt.Sprintf("%d:%d:%d", p.device, p.inode, p.offset) }

func (p place) same(q place) bool { return p.device == q.device && p.inode == q.inode }

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
		if n, err := fmt.Sscanf(text, "%d:%d:%d", &p.device, &p.inode, &p.offset); n != 3 || err != nil || p.offset < 0 || len(out) == marked {
			return nil, fmt.Errorf("mark %q: %w", s, ErrParams)
		}
		out = append(out, p)
	}
	out[0].older = len(out) == marked
	return out, nil
}
