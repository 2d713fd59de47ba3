// Package clients is the lock-client protocol: JSON lines over stdin and stdout
// between the auditor and a lock client, which is always a process of its own,
// so that a stopped client never stops the auditor. Serve is the client's end,
// Conn the auditor's. docs/client-protocol.md is the contract for other languages.
package clients

import (
	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/resources"
)

// Version of the protocol. A client that is asked for a version it does not
// speak answers fail refused.
const Version = 1

// Op is a request's verb.
type Op string

// The verbs. init comes first and once; the others in any number and, after
// init, concurrently: answers carry the request's id and may come in any order.
const (
	OpInit    Op = "init"
	OpAcquire Op = "acquire"
	OpRenew   Op = "renew"
	OpRelease Op = "release"
	OpWrite   Op = "write"
	OpRead    Op = "read"
	OpStatus  Op = "status"
	OpObserve Op = "observe"
	OpInspect Op = "inspect"
	OpPeers   Op = "peers"
	OpQuery   Op = "query"
	OpCancel  Op = "cancel"
)

// Request is one line to the client. Durations are whole milliseconds.
type Request struct {
	ID int `json:"id"`
	Op Op  `json:"op"`

	// init
	Version  int               `json:"version,omitempty"`
	Node     string            `json:"node,omitempty"`
	Lock     *locks.Target     `json:"lock,omitempty"`
	Resource *resources.Target `json:"resource,omitempty"`

	// acquire, renew, release, status, observe
	Key    string `json:"key,omitempty"`
	TTLms  int64  `json:"ttl_ms,omitempty"`
	WaitMs int64  `json:"wait_ms,omitempty"`

	// write, read; Value is the query of a query
	Row      string         `json:"row,omitempty"`
	Token    *history.Token `json:"token,omitempty"`
	RawToken string         `json:"raw_token,omitempty"`
	Value    string         `json:"value,omitempty"`
	OpID     string         `json:"op_id,omitempty"`

	// cancel: the id of the request to give up
	Target int `json:"target,omitempty"`
}

// Message is one line from the client: the answer to a request (ID and one of
// OK, Fail, Info) or an unsolicited event (Event).
//
// ok happened, fail did not happen, info may have happened.
type Message struct {
	ID   int      `json:"id,omitempty"`
	OK   *Answer  `json:"ok,omitempty"`
	Fail *Failure `json:"fail,omitempty"`
	Info *Failure `json:"info,omitempty"`

	Event Event  `json:"event,omitempty"`
	Key   string `json:"key,omitempty"`
	TTLms int64  `json:"ttl_ms,omitempty"`

	// AtNs is the client's own monotonic clock when it wrote this line, in
	// nanoseconds, and SinceNs, on renewed, a reading of the same clock at which
	// the renewal had certainly not been sent yet. Both are optional; without
	// them an unsolicited renewal does not lengthen a hold in the judge's eyes.
	AtNs    int64 `json:"at_ns,omitempty"`
	SinceNs int64 `json:"since_ns,omitempty"`
}

// Event is what a client says without being asked.
type Event string

// The unsolicited events.
const (
	EventRenewed Event = "renewed"
	EventLost    Event = "lost"
)

// Failure is a fail or an info: a code for judges and the words for people.
type Failure struct {
	Code history.Code `json:"code"`
	Err  string       `json:"err,omitempty"`
}

// Answer is the body of an ok; which fields are set depends on the verb.
type Answer struct {
	// init
	Version      int                `json:"version,omitempty"`
	Name         string             `json:"name,omitempty"`
	Capabilities []locks.Capability `json:"capabilities,omitempty"`

	// acquire, renew
	Token *history.Token `json:"token,omitempty"`
	TTLms int64          `json:"ttl_ms,omitempty"`

	// write, read, query
	Seq   uint64   `json:"seq,omitempty"`
	Value string   `json:"value,omitempty"`
	Lines []string `json:"lines,omitempty"`

	// status, observe, inspect, peers
	Holding *bool             `json:"holding,omitempty"`
	Holder  *Holder           `json:"holder,omitempty"`
	Peers   []string          `json:"peers,omitempty"`
	Recent  bool              `json:"recent,omitempty"`
	Facts   *facts.Deployment `json:"facts,omitempty"`
}

// Holder is history.Holder with the protocol's units.
type Holder struct {
	Held   bool   `json:"held"`
	ID     string `json:"id,omitempty"`
	LeftMs int64  `json:"left_ms,omitempty"`
	// LeaseMs is the whole lease, where the service tells it.
	LeaseMs int64 `json:"lease_ms,omitempty"`
	// Owner is what the service stores about the holder, as the holder wrote it. Whoever
	// knows it may be able to release the lock: it is kept in no record.
	Owner string `json:"owner,omitempty"`
}

// maxLine bounds a line in both directions: a client that prints without end
// must not fill the auditor's memory.
const maxLine = 1 << 20
