// Package trail is the log that an agent keeps of what was ordered on its node:
// who ordered what and when, and with which result.
//
// It is a file of JSON lines that is only ever appended to. Each record ends with
// the SHA-256 of itself, and holds that of the one before, so that a record that
// was changed, taken out or put in shows. A chain without a key cannot show that
// somebody wrote all of it anew: for that the newest sum must be kept elsewhere,
// and an audit's run directory keeps it.
package trail

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/inject"
)

// version of a record's format.
const version = 1

// Bounds of a record: what does not fit is cut, never refused. An order must not
// fail because its description is long.
const (
	maxLine    = 64 << 10
	maxText    = 1000 // of one text, in bytes
	maxObjects = 32
)

// Event is what happened.
type Event string

// The events.
const (
	Start   Event = "start"   // an agent was told for whom it works
	Inject  Event = "inject"  // a fault was ordered
	Revert  Event = "revert"  // a fault ended before its deadline; Why says on whose word
	Expire  Event = "expire"  // a fault ended at its deadline
	Recover Event = "recover" // a fault of an earlier life was found at a start
	Heal    Event = "heal"    // the same, found by the command heal or halt
	Halt    Event = "halt"
	Resume  Event = "resume"
	Torn    Event = "torn" // the line above was cut off by a crash; TornLine says which
)

// Result is how it went.
type Result string

// The results.
const (
	Ordered Result = "ordered" // it is about to be done; the next record of this fault says how it went
	OK      Result = "ok"      // done, and read back where there is something to read
	Refused Result = "refused" // nothing was changed
	Failed  Result = "failed"  // Detail says what may remain
)

// Entry is what a writer knows.
type Entry struct {
	Who    Who    `json:"who"`
	Event  Event  `json:"event"`
	Result Result `json:"result"`
	Fault  string `json:"fault,omitempty"` // its id
	Kind   string `json:"kind,omitempty"`
	// Objects are the processes and kernel objects that it touches, in words.
	Objects []string `json:"objects,omitempty"`
	// For is how long the fault may last; Deadline the instant of CLOCK_MONOTONIC_RAW
	// at which it ends by itself. Both in nanoseconds.
	For      time.Duration `json:"for_ns,omitempty"`
	Deadline time.Duration `json:"deadline_ns,omitempty"`
	Why      string        `json:"why,omitempty"`
	// Detail is what was read back, or why it was not done.
	Detail   string    `json:"detail,omitempty"`
	TornLine *TornLine `json:"torn,omitempty"`
}

// TornLine is the rest of a record that a crash, or a full disk, cut off.
type TornLine struct {
	Bytes  int    `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Record is one line of the log.
type Record struct {
	Version int       `json:"v"`
	Seq     uint64    `json:"seq"` // from 1
	Time    time.Time `json:"time"`
	// Raw is CLOCK_MONOTONIC_RAW in nanoseconds: with the boot id it orders what a
	// stepped wall clock would not.
	Raw    time.Duration `json:"raw_ns"`
	BootID string        `json:"boot_id"`
	Entry
	// Prev is the sum of the record before, or noSum.
	Prev string `json:"prev"`
	// Sum is the SHA-256 of the line up to this field.
	Sum string `json:"-"`
}

// noSum stands before the first record.
var noSum = strings.Repeat("0", 2*sha256.Size)

// encode gives the line, without its newline, and its sum.
func encode(r Record) (line []byte, sum string, err error) {
	r.Entry = bounded(r.Entry)
	b, err := json.Marshal(r)
	if err == nil && len(b) > maxLine/2 { // escapes made it long
		r.Objects, r.Detail = []string{fmt.Sprintf("%d objects, too long for this log", len(r.Objects))}, cut(r.Detail, maxText/4)
		b, err = json.Marshal(r)
	}
	if err != nil {
		return nil, "", fmt.Errorf("encode record: %w", err)
	}
	b = b[:len(b)-1] // the closing brace comes behind the sum
	sum = hexSum(b)
	return append(b, sumField+sum+`"}`...), sum, nil
}

const sumField = `,"sum":"`

// Decode checks a line's own sum and reads it.
func Decode(line []byte) (Record, error) {
	rest, ok := bytes.CutSuffix(line, []byte(`"}`))
	at := len(rest) - 2*sha256.Size - len(sumField)
	if !ok || at < 0 || string(rest[at:at+len(sumField)]) != sumField {
		return Record{}, errors.New("decode record: it does not end with a sum")
	}
	r := Record{Sum: string(rest[at+len(sumField):])}
	body := rest[:at]
	if hexSum(body) != r.Sum {
		return Record{}, errors.New("decode record: its sum is not that of its content")
	}
	if err := inject.DecodeStrict(append(bytes.Clone(body), '}'), &r); err != nil {
		return Record{}, fmt.Errorf("decode record: %w", err)
	}
	switch {
	case r.Version != version:
		return Record{}, fmt.Errorf("decode record: version %d, want %d", r.Version, version)
	case r.Seq == 0:
		return Record{}, errors.New("decode record: no sequence number")
	case len(r.Prev) != 2*sha256.Size:
		return Record{}, errors.New("decode record: no sum of the record before")
	}
	return r, nil
}

// bounded cuts and cleans what comes from outside.
func bounded(e Entry) Entry {
	if n := len(e.Objects); n > maxObjects {
		e.Objects = append(append([]string(nil), e.Objects[:maxObjects]...), fmt.Sprintf("and %d more", n-maxObjects))
	}
	e.Objects = append([]string(nil), e.Objects...)
	for i, o := range e.Objects {
		e.Objects[i] = clean(o)
	}
	for _, s := range []*string{&e.Kind, &e.Fault, &e.Why, &e.Detail, &e.Who.SSH, &e.Who.SudoUser, &e.Who.Plan, &e.Who.Run} {
		*s = clean(*s)
	}
	return e
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
