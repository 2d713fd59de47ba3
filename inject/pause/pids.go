package pause

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// pidList is written as ranges, "17 23-30 41": a plan of a thousand processes travels
// from guard to agent to auditor, and into journal and log, before anything is stopped.
type pidList []int

// String is the list as ranges, in order.
func (l pidList) String() string { b, _ := l.MarshalText(); return string(b) }

// MarshalText writes the ranges, in order.
func (l pidList) MarshalText() ([]byte, error) {
	if !slices.IsSorted(l) {
		l = slices.Sorted(slices.Values(l))
	}
	var b []byte
	for i := 0; i < len(l); {
		end := i
		for end+1 < len(l) && l[end+1] <= l[end]+1 {
			end++
		}
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendInt(b, int64(l[i]), 10)
		if l[end] != l[i] {
			b = strconv.AppendInt(append(b, '-'), int64(l[end]), 10)
		}
		i = end + 1
	}
	return b, nil
}

// mostPIDs is the kernel's PID_MAX_LIMIT of 64-bit machines (include/linux/threads.h).
const mostPIDs = 4 << 20

// UnmarshalJSON reads what MarshalText has written, and the plain array of versions
// before it.
func (l *pidList) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]int)(l))
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	*l = nil
	for _, part := range strings.Fields(text) {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, err1 := strconv.Atoi(from)
		last, err2 := strconv.Atoi(to)
		if err1 != nil || err2 != nil || first < 1 || last < first || last > mostPIDs {
			return fmt.Errorf("pids: %q", part)
		}
		for pid := first; pid <= last; pid++ {
			*l = append(*l, pid)
		}
	}
	return nil
}
