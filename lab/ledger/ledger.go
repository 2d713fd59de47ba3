// Package ledger is the protected resource of the practice labs: an HTTP service
// that stores rows and, depending on its variant, refuses writes that carry a
// stale fencing token.
//
// A write is checked, appended to a log and synced to disk under one lock, and
// only then answered: no two writes can pass the check with the same view, and a
// restart forgets neither a row nor the highest token. A mark that is kept in
// memory, or a check that is separate from the write, is the way in which such
// resources commonly fail.
package ledger

import (
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"sync"
)

// Errors of a write that changed nothing.
var (
	// ErrStale: the token is not the current holder's as far as the ledger knows.
	ErrStale = errors.New("stale fencing token")
	// ErrToken: the token is missing or malformed, for variants that look at it.
	ErrToken = errors.New("invalid fencing token")
)

// Entry is a row as it stands.
type Entry struct {
	Value string `json:"value"`
	// Token of the last accepted write, as it was sent.
	Token string `json:"token"`
	// Seq counts the accepted writes of the row, from 1.
	Seq uint64 `json:"seq"`
}

// Scope is the part of a row's name before the first "/": the rows "billing/a"
// and "billing/b" share one mark, because one lock protects both. With a mark per
// row a stale holder could still write every row that the new holder has not
// touched yet.
func Scope(row string) string {
	scope, _, _ := strings.Cut(row, "/")
	return scope
}

// state is what the log says; it is rebuilt from the log at Open.
type state struct {
	rows map[string]Entry
	// marks holds the highest accepted token by scope. Tokens that are no
	// numbers leave no mark.
	marks map[string]*big.Int
	// owners holds the token of each row's first writer.
	owners map[string]string
	// operations holds the sequence number of each accepted write by its id.
	operations map[operation]uint64
}

// operation names a write: an id counts within its row.
type operation struct{ row, id string }

func newState() *state {
	return &state{
		rows: map[string]Entry{}, marks: map[string]*big.Int{},
		owners: map[string]string{}, operations: map[operation]uint64{},
	}
}

func (s *state) apply(r line) {
	s.rows[r.Row] = Entry{Value: r.Value, Token: r.Token, Seq: r.Seq}
	if r.Seq == 1 {
		s.owners[r.Row] = r.Token
	}
	if r.OpID != "" {
		s.operations[operation{r.Row, r.OpID}] = r.Seq
	}
	order, err := parseOrder(r.Token)
	if err != nil {
		return
	}
	if mark := s.marks[Scope(r.Row)]; mark == nil || order.Cmp(mark) > 0 {
		s.marks[Scope(r.Row)] = order
	}
}

// Ledger is an http.Handler; see ServeHTTP for its interface.
type Ledger struct {
	admit admission
	once  bool // an operation is applied once
	mux   *http.ServeMux

	mu    sync.RWMutex // held over check, append, sync and apply
	state *state
	log   *log
}

// Open opens the ledger in dir and replays its log, creating both where they are
// missing. A directory can be open only once at a time.
func Open(dir string, v Variant) (*Ledger, error) {
	admit, err := admissionOf(v)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	s := newState()
	l, err := openLog(dir, s.apply)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	ledger := &Ledger{admit: admit, once: v == Idempotent, state: s, log: l}
	ledger.mux = ledger.routes()
	return ledger, nil
}

// Write stores value in row and returns the row's new sequence number. It fails
// with ErrStale or ErrToken if nothing was changed; after any other error the
// write may or may not be found after a restart.
func (l *Ledger) Write(row, token, value, opID string) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Before the token: the answer to an operation that was applied is its answer,
	// also to a client that has lost the lock since.
	if seq, done := l.state.operations[operation{row, opID}]; l.once && done {
		return seq, nil
	}
	if err := l.admit(l.state, row, token); err != nil {
		return 0, err
	}
	r := line{Row: row, Value: value, Token: token, OpID: opID, Seq: l.state.rows[row].Seq + 1}
	if err := l.log.append(r); err != nil {
		return 0, fmt.Errorf("write row: %w", err)
	}
	l.state.apply(r)
	return r.Seq, nil
}

// Read returns a row; false if it was never written.
func (l *Ledger) Read(row string) (Entry, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	e, ok := l.state.rows[row]
	return e, ok
}

// Close closes the log; later writes fail. It is safe to call twice.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log.close()
}
