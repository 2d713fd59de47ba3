package history

import (
	"cmp"
	"slices"
)

// TokenFault is what is wrong with a pair of tokens.
type TokenFault string

// The faults.
const (
	DuplicateToken     TokenFault = "duplicate"      // two grants, one token
	TokenNotIncreasing TokenFault = "not-increasing" // the later grant has the smaller token
)

// TokenViolation is a pair of grants whose tokens cannot fence.
type TokenViolation struct {
	Key    string
	Fault  TokenFault
	First  Event // the ok acquire that was answered earlier
	Second Event
}

// Seqs lists the events that prove the violation.
func (v TokenViolation) Seqs() []int { return []int{v.First.Seq, v.Second.Seq} }

// grant is an ok acquire with a token.
type grant struct {
	invoke, done *Event
	released     bool // an ok release of the actor came before the next grant of it
}

// CheckTokens returns where tokens are not unique per hold, or where a grant that
// began after another was answered has not the larger number. Grants that overlap
// in time have no order. Tokens without a number are checked for uniqueness only.
//
// An actor that acquires again what it has not released may be given the same token
// again.
func CheckTokens(events []Event) []TokenViolation {
	var found []TokenViolation
	keys, byKey := grantsByKey(events)
	for _, key := range keys {
		found = append(found, duplicates(key, byKey[key])...)
		found = append(found, notIncreasing(key, byKey[key])...)
	}
	return found
}

func grantsByKey(events []Event) (keys []string, byKey map[string][]*grant) {
	type holder struct{ actor, key string }
	byKey = map[string][]*grant{}
	last := map[holder]*grant{}
	p := pair(events)
	for i := range events {
		done := &events[i]
		at := p.invoke[i]
		if at < 0 || done.Type != OK || done.Op != OpAcquire && done.Op != OpRelease {
			continue
		}
		invoke := &events[at]
		key := invoke.Key
		if key == "" {
			key = done.Key
		}
		h := holder{done.Actor, key}
		switch {
		case done.Op == OpRelease:
			if g := last[h]; g != nil {
				g.released = true
			}
		case done.Grant != nil && !done.Grant.Token.IsZero():
			g := &grant{invoke: invoke, done: done}
			last[h] = g
			if byKey[key] == nil {
				keys = append(keys, key)
			}
			byKey[key] = append(byKey[key], g)
		}
	}
	return keys, byKey
}

// duplicates compares identities and numbers alike: a resource that sees a number
// twice lets both of its holders in.
func duplicates(key string, grants []*grant) []TokenViolation {
	var found []TokenViolation
	ids, numbers := map[string]*grant{}, map[string]*grant{}
	for _, g := range grants {
		token := g.done.Grant.Token
		var first *grant
		if token.ID != "" {
			first = ids[token.ID]
			ids[token.ID] = g
		}
		if token.Order != nil {
			number := token.Order.String()
			if first == nil {
				first = numbers[number]
			}
			numbers[number] = g
		}
		if first != nil && (first.released || first.done.Actor != g.done.Actor) {
			found = append(found, TokenViolation{Key: key, Fault: DuplicateToken, First: *first.done, Second: *g.done})
		}
	}
	return found
}

// notIncreasing walks the grants by their calls and keeps the largest token among
// those that had been answered before each.
func notIncreasing(key string, grants []*grant) []TokenViolation {
	var ordered []*grant
	for _, g := range grants {
		if g.done.Grant.Token.Order != nil {
			ordered = append(ordered, g)
		}
	}
	byAnswer := slices.Clone(ordered)
	slices.SortStableFunc(byAnswer, func(a, b *grant) int { return cmp.Compare(a.done.At, b.done.At) })
	slices.SortStableFunc(ordered, func(a, b *grant) int { return cmp.Compare(a.invoke.At, b.invoke.At) })
	var found []TokenViolation
	var largest *grant
	next := 0
	for _, g := range ordered {
		for ; next < len(byAnswer) && byAnswer[next].done.At < g.invoke.At; next++ {
			if largest == nil || older(largest, byAnswer[next]) {
				largest = byAnswer[next]
			}
		}
		if largest != nil && older(g, largest) {
			found = append(found, TokenViolation{Key: key, Fault: TokenNotIncreasing, First: *largest.done, Second: *g.done})
		}
	}
	return found
}

// older: has a the smaller number? Equal ones are duplicates.
func older(a, b *grant) bool {
	return a.done.Grant.Token.Order.Cmp(b.done.Grant.Token.Order) < 0
}
