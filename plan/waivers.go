package plan

import (
	"fmt"
	"time"
)

// Owner is who answers for a lock.
type Owner struct {
	Team string `yaml:"team,omitempty"`
	// Contact is an address, a channel or a number: whatever reaches them.
	Contact string `yaml:"contact,omitempty"`
}

// Waiver accepts the failure of one item of the checklist, for a while: somebody by
// name knows of it. It changes no verdict and no letter; see checklist.Finding.Waived.
type Waiver struct {
	Item   string `yaml:"item"`
	Owner  string `yaml:"owner"`
	Reason string `yaml:"reason"`
	// Until is the last day on which it holds, in UTC: 2026-12-31. There is none
	// without an end.
	Until string `yaml:"until"`
}

// validateWaivers looks at all but the items, which package plan does not know.
func (p *Plan) validateWaivers() error {
	seen := map[string]bool{}
	for _, w := range p.Waivers {
		about := fmt.Sprintf("the waiver of %q", w.Item)
		switch {
		case w.Item == "":
			return &Error{Msg: "a waiver names no item", Hint: "for example waivers: [{item: fencing_enforced, owner: jane, reason: fixed by release 7, until: 2026-12-31}]"}
		case seen[w.Item]:
			return &Error{Msg: fmt.Sprintf("item %q is waived twice", w.Item)}
		case w.Owner == "":
			return &Error{Msg: about + " has no owner", Hint: "the person or team that answers for it"}
		case w.Reason == "":
			return &Error{Msg: about + " has no reason", Hint: "why the failure is accepted, and what will end it"}
		}
		if _, err := time.Parse(time.DateOnly, w.Until); err != nil {
			return &Error{Msg: fmt.Sprintf("%s ends on %q, which is not a day", about, w.Until), Hint: "until: the last day on which it holds, as 2026-12-31; a waiver without an end is none"}
		}
		seen[w.Item] = true
	}
	return nil
}
