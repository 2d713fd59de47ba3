// Package facts holds what a read-only look at a lock deployment found out.
// Drivers fill it in, the run directory keeps it, checklist items judge it.
//
// A pointer that is nil means "could not be read", which is never the same as no.
package facts

import "time"

// Deployment describes the lock service as it was found.
type Deployment struct {
	Backend string `json:"backend"`
	// Version of the server, or of the oldest member if they differ.
	Version string `json:"version,omitempty"`
	// Consensus names the protocol that replicates lock state before it is
	// acknowledged ("raft"); empty if there is none.
	Consensus string   `json:"consensus,omitempty"`
	Members   []Member `json:"members,omitempty"`
	// Voters counts members that take part in quorum (learners and replicas do not).
	Voters int `json:"voters,omitempty"`
	// Quorum is how many members have to grant where the clients count the votes of
	// servers that know nothing of each other (Redlock); 0 where they do not.
	Quorum int `json:"quorum,omitempty"`
	// NodeTimeout is how long such a client waits for each of them.
	NodeTimeout time.Duration `json:"node_timeout,omitempty"`
	// Replicas counts asynchronous copies.
	Replicas int `json:"replicas,omitempty"`
	// Durable: is an acknowledged lock on disk before the answer?
	Durable *bool `json:"durable,omitempty"`
	// Evicts: may the server drop a lock to free memory?
	Evicts *bool `json:"evicts,omitempty"`
	// TLS: was every endpoint reached over TLS? Auth: does the service ask for
	// authentication (tried without credentials, or read from its configuration)?
	TLS  *bool `json:"tls,omitempty"`
	Auth *bool `json:"auth,omitempty"`
	// WallClock: do leases run on a clock that an administrator or NTP can step?
	WallClock *bool `json:"wall_clock,omitempty"`
	// MinTTL is the shortest lease the service grants, if it is known.
	MinTTL time.Duration `json:"min_ttl,omitempty"`
	// OrderedTokens: does a later grant carry a larger token?
	OrderedTokens *bool `json:"ordered_tokens,omitempty"`
	// Settings are the server settings behind the fields above, as read
	// ("appendonly" = "no"), for the reader of the report; no judge parses them.
	Settings []Setting `json:"settings,omitempty"`
	// Unknown lists what could not be read and why, one line each.
	Unknown []string `json:"unknown,omitempty"`
}

// Member is one server of the lock service.
type Member struct {
	Name     string `json:"name,omitempty"`
	Endpoint string `json:"endpoint"`
	// ID is the server's own identity (etcd member id, Redis run_id): two
	// endpoints with one ID are one server.
	ID string `json:"id,omitempty"`
	// Role as the server states it: leader, follower, learner, master, replica.
	Role    string `json:"role,omitempty"`
	Version string `json:"version,omitempty"`
	// Clock is the server's wall clock minus the inspecting client's, in
	// nanoseconds, at the middle of the request; ClockError is half its round trip.
	Clock      *time.Duration `json:"clock,omitempty"`
	ClockError time.Duration  `json:"clock_error,omitempty"`
	// Err says why the endpoint could not be read.
	Err string `json:"err,omitempty"`
}

// Setting is one server setting as read.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}
