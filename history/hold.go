package history

import (
	"math"
	"time"
)

// HoldKind says what is known of a hold.
type HoldKind string

// The kinds.
const (
	// Certain: the lock was held during all of [From, To).
	Certain HoldKind = "certain"
	// Point: the lock was held at one unknown instant within [From, To], both ends
	// included. It comes from a grant whose lease may have been over before the
	// answer came, and from an ok release whose acquire was never answered.
	Point HoldKind = "point"
)

// Forever is the To of a hold that nothing is known to have ended.
const Forever = time.Duration(math.MaxInt64)

// Hold is a stretch of time in which the lock service certainly had granted the
// lock to one party: the core of the real hold, which may have begun earlier and
// ended later.
type Hold struct {
	Key   string
	Actor string
	Trial int
	Kind  HoldKind
	From  time.Duration
	To    time.Duration
	Token Token
	// Acquired, Renewed and Ended are the Seqs of the events that prove the hold:
	// the grant (of a point: the proof itself), the last proof or renewal after
	// it, and what ended it. 0: none; a lease that ran out is no event.
	Acquired, Renewed, Ended int

	party int32
}

// Seqs lists the events that prove the hold.
func (h Hold) Seqs() []int {
	var seqs []int
	for _, seq := range []int{h.Acquired, h.Renewed, h.Ended} {
		if seq > 0 {
			seqs = append(seqs, seq)
		}
	}
	return seqs
}

// Options of the checks.
type Options struct {
	// OwnerCheck: an ok release proves that the lock was still held (the client
	// declares owner-check).
	OwnerCheck bool
	// SessionBound: a hold without a lease is a connection, and ends when the service
	// learns that it is gone, of which there is no event: after its grant nothing is
	// certain but by a later proof (the client declares session-bound).
	SessionBound bool
}

// after is at+d, without overflow.
func after(at, d time.Duration) time.Duration {
	if d > 0 && at > Forever-d {
		return Forever
	}
	return at + d
}
