package agent

import "slices"

// Settle learns from the greeting of a later agent on the same node which faults of a
// connection that was lost are over; the others stay unconfirmed. That agent
// holds the state directory's lock, so that the earlier one and its guard have ended; an
// entry leaves the journal only after its revert was read back; and what was still in it
// the new guard has reverted and read back before it greeted. After a reboot nothing of
// a fault exists any more.
func (c *Conn) Settle(later Hello) {
	select {
	case <-c.waited:
	default:
		return // not lost
	}
	rebooted := later.BootID != c.hello.BootID
	if !rebooted && later.StateDir != c.hello.StateDir {
		return
	}
	remains := map[string]bool{}
	for _, r := range later.Recovered {
		if r.Outcome == OutcomeFailed {
			remains[r.ID] = true
		}
	}
	if !rebooted && len(remains) > 0 && slices.ContainsFunc(later.Recovered, func(r Recovered) bool { return r.Outcome == OutcomeFailed && r.Kind == "" }) {
		return // an entry that cannot be read may be any of them
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	settle := func(id string) {
		if rebooted || !remains[id] {
			delete(c.failed, id)
			c.active[id] = false
		}
	}
	for id, on := range c.active {
		if on {
			settle(id)
		}
	}
	for id := range c.failed {
		settle(id)
	}
	c.unanswered = nil // whatever it was, it was in the journal before it was in effect
}
