package agent

import "sort"

// Unconfirmed are the ids of faults that were in effect and whose end nobody has
// confirmed. It is meant for after Close, when nothing more will come.
func (c *Conn) Unconfirmed() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []string
	for id, on := range c.active {
		if on {
			ids = append(ids, id)
		}
	}
	for id := range c.failed {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	return append(ids, c.unknown()...)
}

// unknown are the faults without a known id: the connection was lost between order and
// answer. The caller holds c.mu.
func (c *Conn) unknown() []string {
	var out []string
	for _, kind := range c.unanswered {
		out = append(out, "unanswered "+kind)
	}
	return out
}
