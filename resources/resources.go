// Package resources is the contract between lockaudit and what a lock protects.
// One folder below holds one kind, package all lists them, package resourcetest
// is the conformance suite that each must pass.
package resources

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/lockaudit/lockaudit/history"
)

// Definite outcomes. Any other error means that the write may have happened.
var (
	// ErrStale: the resource refused the write because of its fencing token.
	ErrStale = errors.New("stale fencing token refused")
	// ErrRefused: the resource refused the write for another definite reason
	// (a malformed request, a missing token).
	ErrRefused = errors.New("write refused")
)

// Target says where a resource is and how tokens reach it.
type Target struct {
	Kind string `json:"kind"`
	// URL of the resource; "{row}" in it is replaced by the row.
	URL string `json:"url,omitempty"`
	// TokenHeader is the HTTP header that carries the fencing token.
	TokenHeader string   `json:"token_header,omitempty"`
	Endpoints   []string `json:"endpoints,omitempty"`
	Username    string   `json:"username,omitempty"`
	Password    string   `json:"password,omitempty"`
	// Options are the kind's own; it decodes them and refuses unknown ones.
	Options json.RawMessage `json:"options,omitempty"`
}

// Entry is one write. RawToken, when set, is sent instead of Token's wire form:
// the token battery sends malformed tokens that way.
type Entry struct {
	Row      string
	Token    history.Token
	RawToken string
	Value    string
	OpID     string // unique per operation; the resource may use it to drop repeats
}

// Value is what a read returns.
type Value struct {
	Value string
	// Token is the wire form of the token of the last accepted write, if known.
	Token string
	// Seq orders accepted writes of a row, from 1; 0 means never written or unknown.
	Seq uint64
}

// Resource accepts or refuses writes. Methods may be called concurrently. A
// Resource never retries a write whose outcome is unknown.
type Resource interface {
	// Write returns the resource's sequence number of the accepted write, or 0
	// if it has none.
	Write(ctx context.Context, e Entry) (seq uint64, err error)
	// Read returns the row as it stands; a row never written is the zero Value.
	Read(ctx context.Context, row string) (Value, error)
	// Close is safe to call twice.
	Close() error
}

// Lister is implemented by resources that can be asked by a query of the user's own what
// was written, a line for each. It changes nothing there.
type Lister interface {
	Query(ctx context.Context, query string) (lines []string, err error)
}

// Kind opens resources of one kind.
type Kind interface {
	// Name is the word in the plan's resource.kind.
	Name() string
	Open(ctx context.Context, t Target) (Resource, error)
}
