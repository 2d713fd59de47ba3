package history

import "fmt"

// Validate returns the first thing that is wrong with the form of a history: Seq
// counts from 1 without a hole, a Call names an earlier invoke of the same actor
// and operation that was not completed before, and no completion is earlier than
// its invoke. Operations and types that this version does not know are tolerated.
func Validate(events []Event) error {
	completed := make([]bool, len(events))
	for i, e := range events {
		if e.Seq != i+1 {
			return fmt.Errorf("validate history: event %d has seq %d", i+1, e.Seq)
		}
		if e.Call == 0 {
			continue
		}
		if e.Type == Invoke {
			return fmt.Errorf("validate history: event %d is an invoke that completes call %d", e.Seq, e.Call)
		}
		if e.Call < 0 || e.Call >= e.Seq {
			return fmt.Errorf("validate history: event %d completes call %d, which is not earlier", e.Seq, e.Call)
		}
		invoke := events[e.Call-1]
		switch {
		case invoke.Type != Invoke:
			return fmt.Errorf("validate history: event %d completes event %d, which is not an invoke", e.Seq, e.Call)
		case invoke.Actor != e.Actor || invoke.Op != e.Op:
			return fmt.Errorf("validate history: event %d (%s %s) completes call %d of %s %s",
				e.Seq, e.Actor, e.Op, e.Call, invoke.Actor, invoke.Op)
		case completed[e.Call-1]:
			return fmt.Errorf("validate history: event %d completes call %d a second time", e.Seq, e.Call)
		case e.At < invoke.At:
			return fmt.Errorf("validate history: event %d is earlier than its call %d", e.Seq, e.Call)
		}
		completed[e.Call-1] = true
	}
	return nil
}
