package history

// Call is an operation: its invoke and, once it is known, its completion.
type Call struct {
	Invoke Event
	// Done is nil if the history ends before the operation did.
	Done *Event
}

// Type is the outcome; a call without a completion may have happened.
func (c Call) Type() Type {
	if c.Done == nil {
		return Info
	}
	return c.Done.Type
}

// Key of the lock, from whichever event names it.
func (c Call) Key() string {
	if c.Invoke.Key == "" && c.Done != nil {
		return c.Done.Key
	}
	return c.Invoke.Key
}

// Row of the resource, from whichever event names it.
func (c Call) Row() string {
	if c.Invoke.Row == "" && c.Done != nil {
		return c.Done.Row
	}
	return c.Invoke.Row
}

// Written is the token that a write carried and the resource's own order of it.
func (c Call) Written() (token Token, seq uint64) {
	if w := c.Invoke.Write; w != nil {
		token = w.Token
	}
	if c.Done != nil && c.Done.Write != nil {
		if token.IsZero() {
			token = c.Done.Write.Token
		}
		seq = c.Done.Write.Seq
	}
	return token, seq
}

// Calls pairs each invoke with its completion, in the order of the invokes.
// Unsolicited events are not calls.
func Calls(events []Event) []Call {
	p := pair(events)
	var calls []Call
	for i := range events {
		if events[i].Type != Invoke {
			continue
		}
		call := Call{Invoke: events[i]}
		if d := p.done[i]; d >= 0 {
			call.Done = &events[d]
		}
		calls = append(calls, call)
	}
	return calls
}

// Filter keeps the events for which keep is true. A filter by trial, actor,
// operation or case keeps calls whole, since a completion has those of its invoke.
func Filter(events []Event, keep func(Event) bool) []Event {
	var kept []Event
	for _, e := range events {
		if keep(e) {
			kept = append(kept, e)
		}
	}
	return kept
}

// Trial keeps the events of one repetition.
func Trial(events []Event, n int) []Event {
	return Filter(events, func(e Event) bool { return e.Trial == n })
}

// Trials lists the numbers of the repetitions in the order in which they began.
func Trials(events []Event) []int {
	var trials []int
	seen := map[int]bool{}
	for _, e := range events {
		if e.Trial > 0 && !seen[e.Trial] {
			seen[e.Trial] = true
			trials = append(trials, e.Trial)
		}
	}
	return trials
}

// pairs joins invokes and completions by their index in a slice of events.
type pairs struct {
	done   []int32 // of an invoke: its completion, or -1
	invoke []int32 // of a completion: its invoke, or -1
}

// pair tolerates any input: a Call that names no invoke of the same actor and
// operation, or one that is completed already, pairs with nothing.
func pair(events []Event) pairs {
	p := pairs{done: make([]int32, len(events)), invoke: make([]int32, len(events))}
	for i := range events {
		p.done[i], p.invoke[i] = -1, -1
	}
	index := indexOf(events)
	for i := range events {
		e := &events[i]
		if e.Call == 0 || e.Type == Invoke {
			continue
		}
		at := index(e.Call)
		if at < 0 || p.done[at] >= 0 {
			continue
		}
		if c := &events[at]; c.Type == Invoke && c.Op == e.Op && c.Actor == e.Actor && c.At <= e.At {
			p.done[at], p.invoke[i] = int32(i), int32(at)
		}
	}
	return p
}

// indexOf returns a lookup from Seq to index, -1 if there is none. In a whole
// history the index follows from the Seq; a filtered one needs a map.
func indexOf(events []Event) func(seq int) int {
	if len(events) == 0 {
		return func(int) int { return -1 }
	}
	first := events[0].Seq
	var bySeq map[int]int
	return func(seq int) int {
		if at := seq - first; at >= 0 && at < len(events) && events[at].Seq == seq {
			return at
		}
		if bySeq == nil {
			bySeq = make(map[int]int, len(events))
			for i := range events {
				bySeq[events[i].Seq] = i
			}
		}
		if at, ok := bySeq[seq]; ok {
			return at
		}
		return -1
	}
}
