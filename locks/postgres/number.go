package postgres

import (
	"fmt"
	"regexp"
	"strconv"
)

// numbered is the key of an advisory lock of which only the number is known, as pg_locks
// shows it: advisory/4711, or advisory/1/7 for one of two numbers. The built-in client
// takes locks by their text; these it only looks at.
var numbered = regexp.MustCompile(`^advisory/(-?[0-9]+)(?:/(-?[0-9]+))?$`)

// lockNumber is an advisory lock as pg_locks has it: one of 64 bits, or two of 32.
type lockNumber struct {
	value int64
	parts int // objsubid: 1 or 2
}

func parseNumber(key string) (n lockNumber, ok bool) {
	m := numbered.FindStringSubmatch(key)
	if m == nil {
		return n, false
	}
	if m[2] == "" {
		value, err := strconv.ParseInt(m[1], 10, 64)
		return lockNumber{value, 1}, err == nil
	}
	high, err1 := strconv.ParseInt(m[1], 10, 32)
	low, err2 := strconv.ParseInt(m[2], 10, 32)
	return lockNumber{high<<32 | low&0xffffffff, 2}, err1 == nil && err2 == nil
}

func (n lockNumber) key() string {
	if n.parts == 2 {
		return fmt.Sprintf("advisory/%d/%d", int32(n.value>>32), int32(n.value))
	}
	return fmt.Sprintf("advisory/%d", n.value)
}
