// Package survey is what a bounded, read-only look at a lock service finds: its
// topology, and which of its keys look like locks. Drivers look, and tell a Watch what
// they saw; it decides, by rules that need no server, what may be a lock.
//
// Nothing here holds an owner's value: whoever knows it can release the lock.
package survey

import (
	"time"

	"github.com/lockaudit/lockaudit/facts"
)

// Options bound a look.
type Options struct {
	// Prefix limits the look to keys that begin with it; empty: all keys.
	Prefix string
	// Key, if it is known, is the only one that is looked at.
	Key string
	// Limit is how many keys are looked at, at most.
	Limit int
	// For is how long the keys that may be locks are watched.
	For time.Duration
	// Progress is told what is being done, and until when if that is known.
	Progress func(step string, until time.Time)
}

// Survey is what was found. Durations are nanoseconds in JSON.
type Survey struct {
	// Service is what the service says of itself.
	Service facts.Deployment `json:"service"`
	// Topology in words: "one server", "a primary with 2 replicas", "a quorum of 3".
	Topology string `json:"topology"`
	// Endpoints are what a plan should name.
	Endpoints []string `json:"endpoints"`
	// Options are what the plan's lock.options have to be, as YAML; empty: none.
	Options string `json:"options,omitempty"`
	// Others are servers that no plan names as endpoints: replicas, sentinels.
	Others []facts.Member `json:"others,omitempty"`
	// Clients are the machines from which the service is used.
	Clients []Client `json:"clients,omitempty"`
	// Notes are what a person should know before the plan is used, one line each.
	Notes []string `json:"notes,omitempty"`
	// Locks are the candidates, the likeliest first.
	Locks []Group `json:"locks"`
	// Keys were looked at; All: there were no more. Watched is how long.
	Keys    int           `json:"keys"`
	All     bool          `json:"all"`
	Watched time.Duration `json:"watched"`
}

// Client is a machine that is connected to the service.
type Client struct {
	Address     string   `json:"address"`
	Connections int      `json:"connections"`
	Names       []string `json:"names,omitempty"`
}

// Group is one lock, or several whose names differ in a part that varies.
type Group struct {
	// Pattern is the keys' name with * for that part; Keys counts them, and Key is the
	// likeliest of them: what a plan should name.
	Pattern string `json:"pattern"`
	Keys    int    `json:"keys"`
	Key     string `json:"key"`
	// Kind is how the service stores it: "string", "hash", "mutex", "election".
	Kind string `json:"kind"`
	// Lease is the longest that was seen, and Exact says that it is the one that was
	// asked for. 0: the key has no lease, so that a dead holder keeps it for ever.
	Lease time.Duration `json:"lease"`
	Exact bool          `json:"exact"`
	// Renewals were seen of the same owner, about Every apart (0: not known).
	Renewals int           `json:"renewals"`
	Every    time.Duration `json:"every,omitempty"`
	// Owners counts the different ones that were seen, Owner is the form of their
	// values, and Waiting the most that queued.
	Owners  int    `json:"owners"`
	Owner   string `json:"owner"`
	Waiting int    `json:"waiting,omitempty"`
	// Why it may be a lock, in words.
	Why []string `json:"why"`
	// Options are what the plan's lock.options have to be for this lock, as YAML; empty:
	// those of the survey.
	Options string `json:"options,omitempty"`
	// Score orders the candidates.
	Score int `json:"score"`
}
