// Package postgres keeps rows in PostgreSQL. It fences as a database that takes part
// should, by one conditional UPDATE, or in two ways that its users have instead: not
// at all, and by a look at the token before the write, which at READ COMMITTED does not
// hold under concurrency.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lockaudit/lockaudit/resources"
	"github.com/lockaudit/lockaudit/strict"
)

// Kind is the postgres resource.
type Kind struct{}

// Name implements resources.Kind.
func (Kind) Name() string { return "postgres" }

// The ways to treat a token.
const (
	// ordered: one conditional statement.
	ordered = "ordered"
	// checkThenWrite: SELECT the mark, compare, then write. It looks like fencing.
	checkThenWrite = "check-then-write"
	// none: the token is stored and never looked at.
	none = "none"
)

// options of the kind in the plan.
type options struct {
	// Fencing is ordered, check-then-write or none; ordered if not set.
	Fencing string `json:"fencing"`
	// Database to connect to; "postgres" if not set.
	Database string `json:"database"`
	// Table of the rows; the marks of the scopes are in <table>_mark.
	// "lockaudit_resource" if not set.
	Table string `json:"table"`
	// Create makes both tables where they are missing.
	Create bool `json:"create"`
	// CA is a file with the authority of the server's certificate: TLS is used, and
	// plain text without it.
	CA string `json:"ca"`
}

var tableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,50}(\.[A-Za-z_][A-Za-z0-9_]{0,50})?$`)

const (
	reachLimit  = 3 * time.Second  // to accept a connection, and for the first answer
	answerLimit = 10 * time.Second // for a statement whose context has no deadline
)

// Open implements resources.Kind.
func (Kind) Open(ctx context.Context, t resources.Target) (resources.Resource, error) {
	o := options{Fencing: ordered, Database: "postgres", Table: "lockaudit_resource"}
	if err := strict.Options(t.Options, &o, resources.ErrRefused); err != nil {
		return nil, err
	}
	switch {
	case o.Fencing != ordered && o.Fencing != checkThenWrite && o.Fencing != none:
		return nil, fmt.Errorf("decode options: fencing is %q, neither ordered nor check-then-write nor none: %w", o.Fencing, resources.ErrRefused)
	case !tableName.MatchString(o.Table):
		return nil, fmt.Errorf("decode options: table %q is no name of a table: %w", o.Table, resources.ErrRefused)
	}
	config, err := configure(t, o)
	if err != nil {
		return nil, fmt.Errorf("open postgres resource: %w", err)
	}
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), config)
	if err != nil {
		return nil, fmt.Errorf("open postgres resource: %w", err)
	}
	r := &resource{pool: pool, fencing: o.Fencing, sql: statementsOf(o.Table)}
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	if err := r.prepare(ctx, o.Create); err != nil {
		pool.Close()
		return nil, fmt.Errorf("open postgres resource: %w", refused(err))
	}
	return r, nil
}

type resource struct {
	pool    *pgxpool.Pool
	fencing string
	sql     statements
	close   sync.Once
}

// createKey serialises the makers of the tables: CREATE … IF NOT EXISTS of two at
// once fails for one of them.
const createKey = "lockaudit resource table"

func (r *resource) prepare(ctx context.Context, create bool) error {
	if create {
		err := pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", createKey); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, r.sql.create, pgx.QueryExecModeSimpleProtocol)
			return err
		})
		if err != nil {
			return fmt.Errorf("create tables: %w", err)
		}
	}
	if _, err := r.Read(ctx, ""); err != nil {
		return err
	}
	_, err := r.mark(ctx, r.pool, "")
	return err
}

// Write implements resources.Resource. It is sent once.
func (r *resource) Write(ctx context.Context, e resources.Entry) (seq uint64, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	switch r.fencing {
	case ordered:
		seq, err = r.writeOrdered(ctx, e)
	case checkThenWrite:
		seq, err = r.writeChecked(ctx, e)
	default:
		seq, err = r.store(ctx, r.pool, e)
	}
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", e.Row, refused(err))
	}
	return seq, nil
}

// querier is a pool, or one transaction of it.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// store writes the row whatever its token is.
func (r *resource) store(ctx context.Context, q querier, e resources.Entry) (seq uint64, err error) {
	var n int64
	err = q.QueryRow(ctx, r.sql.store, e.Row, e.Value, e.Wire(), e.OpID).Scan(&n)
	return uint64(n), err
}

// writeOrdered raises the mark of the scope and writes the row in one transaction that
// is one conditional statement: with a lower token it changes nothing. Whoever comes at
// the same moment waits for the mark's row lock and then sees the mark as it is.
func (r *resource) writeOrdered(ctx context.Context, e resources.Entry) (uint64, error) {
	token, err := resources.Number(e.Wire())
	if err != nil {
		return 0, err
	}
	var n int64
	err = r.pool.QueryRow(ctx, r.sql.ordered, e.Row, e.Value, e.Wire(), e.OpID, resources.Scope(e.Row), token).Scan(&n)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, fmt.Errorf("%w: token %s is below the highest accepted for %q", resources.ErrStale, token, resources.Scope(e.Row))
	}
	return uint64(n), err
}

// writeChecked compares first and writes then, in a transaction, as if that kept
// others out: at READ COMMITTED it does not. A newer token may be written between the
// look and the write, and is then overwritten.
func (r *resource) writeChecked(ctx context.Context, e resources.Entry) (seq uint64, err error) {
	token, err := resources.Number(e.Wire())
	if err != nil {
		return 0, err
	}
	scope := resources.Scope(e.Row)
	err = pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		mark, err := r.mark(ctx, tx, scope)
		if err != nil {
			return err
		}
		if mark != "" && resources.Below(token, mark) {
			return fmt.Errorf("%w: token %s is below %s", resources.ErrStale, token, mark)
		}
		if seq, err = r.store(ctx, tx, e); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, r.sql.raise, scope, token)
		return err
	})
	return seq, err
}

// mark is the highest token that was accepted in a scope, or "".
func (r *resource) mark(ctx context.Context, q querier, scope string) (mark string, err error) {
	err = q.QueryRow(ctx, r.sql.mark, scope).Scan(&mark)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return mark, err
}

// Read implements resources.Resource.
func (r *resource) Read(ctx context.Context, row string) (resources.Value, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	var v resources.Value
	var seq int64
	err := r.pool.QueryRow(ctx, r.sql.read, row).Scan(&v.Value, &v.Token, &seq)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return resources.Value{}, nil
	case err != nil:
		return resources.Value{}, fmt.Errorf("read %s: %w", row, err)
	}
	v.Seq = uint64(seq)
	return v, nil
}

// Close implements resources.Resource.
func (r *resource) Close() error {
	r.close.Do(r.pool.Close)
	return nil
}

// refused marks an error by which the server itself has refused a statement, which is
// then rolled back. One by which it says that it is going down, or that it is broken,
// leaves open how far it came.
func refused(err error) error {
	var answered *pgconn.PgError
	if !errors.As(err, &answered) {
		return err
	}
	switch class := answered.Code[:min(2, len(answered.Code))]; class {
	case "08", "57", "58", "XX": // connection, operator intervention, system, internal
		return err
	}
	return fmt.Errorf("%w: %w", resources.ErrRefused, err)
}

// bounded gives a statement a deadline if its context has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, answerLimit)
}
