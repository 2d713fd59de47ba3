package history

import (
	"cmp"
	"math/big"
	"slices"
	"time"
)

// StaleKind says what shows that an accepted write was stale.
type StaleKind string

// The kinds.
const (
	// StaleAfter: a newer token's write had been accepted before this one was called.
	StaleAfter StaleKind = "after-newer"
	// StaleInOrder: by the resource's own numbering this one came after the newer.
	StaleInOrder StaleKind = "in-order"
	// StaleInverted: a newer token's write was refused as stale, and this older one
	// was accepted afterwards: the resource fences the wrong way round, as a check
	// for equality does.
	StaleInverted StaleKind = "inverted"
)

// StaleWrite is an accepted write whose token was not the newest.
type StaleWrite struct {
	Row   string
	Kind  StaleKind
	Write Event // the ok of the stale write
	Newer Event // the ok (inverted: the fail) of the newer token's write
}

// Seqs lists the events that prove it.
func (s StaleWrite) Seqs() []int { return []int{s.Newer.Seq, s.Write.Seq} }

// write is an answered write with a token.
type write struct {
	invoke, done *Event
	order        *big.Int
	seq          uint64
	// granted bounds when the token was granted, if it has no number.
	granted *interval
}

func bySeq(w *write) uint64           { return w.seq }
func byCall(w *write) time.Duration   { return w.invoke.At }
func byAnswer(w *write) time.Duration { return w.done.At }

type interval struct{ from, to time.Duration }

// StaleWrites returns the accepted writes of each row whose token was older than one
// that the resource had accepted (or refused, see StaleInverted) before. A token is
// older by its number; without numbers, if it was granted before the other was asked
// for in this history. A write is reported once.
func StaleWrites(events []Event) []StaleWrite {
	rows, byRow := writesByRow(events)
	var found []StaleWrite
	for _, row := range rows {
		found = append(found, staleInRow(row, byRow[row])...)
	}
	return found
}

func staleInRow(row string, writes []*write) []StaleWrite {
	var accepted, refused, numbered []*write
	for _, w := range writes {
		switch {
		case w.done.Type == OK:
			accepted = append(accepted, w)
			if w.seq > 0 {
				numbered = append(numbered, w)
			}
		case w.done.Type == Fail && w.done.Code == CodeStale:
			refused = append(refused, w)
		}
	}
	var found []StaleWrite
	seen := map[*write]bool{}
	report := func(kind StaleKind, w, newer *write) {
		if !seen[w] {
			seen[w] = true
			found = append(found, StaleWrite{Row: row, Kind: kind, Write: *w.done, Newer: *newer.done})
		}
	}
	sortBy(numbered, bySeq)
	sortBy(accepted, byCall)
	answered := slices.Clone(accepted)
	sortBy(answered, byAnswer)
	sortBy(refused, byAnswer)
	before := func(a, b *write) bool { return a.done.At < b.invoke.At }
	sweep(accepted, answered, before, func(w, newer *write) { report(StaleAfter, w, newer) })
	sweep(numbered, numbered, func(a, b *write) bool { return a.seq < b.seq },
		func(w, newer *write) { report(StaleInOrder, w, newer) })
	sweep(accepted, refused, before, func(w, newer *write) { report(StaleInverted, w, newer) })
	return found
}

// sweep reports each write with a newer token among the others before it. Both
// slices are in an order in which before, once false, stays false.
func sweep(writes, others []*write, before func(other, w *write) bool, report func(w, newer *write)) {
	var most newest
	next := 0
	for _, w := range writes {
		for ; next < len(others) && before(others[next], w); next++ {
			most.add(others[next])
		}
		if newer := most.than(w); newer != nil {
			report(w, newer)
		}
	}
}

func sortBy[T cmp.Ordered](writes []*write, by func(w *write) T) {
	slices.SortStableFunc(writes, func(a, b *write) int { return cmp.Compare(by(a), by(b)) })
}

// newest keeps the writes with the newest tokens: by number, and by time of grant.
type newest struct{ number, grant *write }

func (n *newest) add(w *write) {
	if w.order != nil && (n.number == nil || n.number.order.Cmp(w.order) < 0) {
		n.number = w
	}
	if w.granted != nil && (n.grant == nil || n.grant.granted.from < w.granted.from) {
		n.grant = w
	}
}

// than returns the write whose token is newer than that of w, nil if none is.
func (n *newest) than(w *write) *write {
	switch {
	case w.order != nil && n.number != nil && w.order.Cmp(n.number.order) < 0:
		return n.number
	case w.granted != nil && n.grant != nil && w.granted.to < n.grant.granted.from:
		return n.grant
	}
	return nil
}

func writesByRow(events []Event) (rows []string, byRow map[string][]*write) {
	byRow = map[string][]*write{}
	granted := map[string]*interval{}
	for _, call := range Calls(events) {
		if call.Done == nil {
			continue
		}
		switch call.Invoke.Op {
		case OpAcquire:
			if g := call.Done.Grant; call.Done.Type == OK && g != nil && g.Token.Order == nil && g.Token.ID != "" {
				if granted[g.Token.ID] == nil {
					granted[g.Token.ID] = &interval{call.Invoke.At, call.Done.At}
				}
			}
		case OpWrite:
			invoke := call.Invoke
			token, seq := call.Written()
			if token.IsZero() {
				continue
			}
			w := &write{invoke: &invoke, done: call.Done, order: token.Order, seq: seq}
			if token.Order == nil {
				w.granted = granted[token.ID]
			}
			row := call.Row()
			if byRow[row] == nil {
				rows = append(rows, row)
			}
			byRow[row] = append(byRow[row], w)
		}
	}
	return rows, byRow
}
