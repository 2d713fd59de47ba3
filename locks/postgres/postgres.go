// Package postgres locks with PostgreSQL, in the two ways that its users do.
//
// A session advisory lock has no lease and no fencing token: it belongs to a
// connection, and the server gives it back when it learns that the connection is
// gone. A row of a lease table has both: the lease runs on the server's wall clock,
// since SQL has no other, and the token comes from a sequence.
package postgres

import (
	"context"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/strict"
)

// Driver is the postgres backend.
type Driver struct{}

// Name implements locks.Driver.
func (Driver) Name() string { return "postgres" }

// The kinds of lock.
const (
	lease    = "lease"
	advisory = "advisory"
)

// options of the backend in the plan.
type options struct {
	// Lock is lease (a row of a table) or advisory (pg_try_advisory_lock); a lease if
	// not set.
	Lock string `json:"lock"`
	// Database to connect to; "postgres" if not set.
	Database string `json:"database"`
	// Table of the leases, as name or schema.name, exactly as the catalog has it;
	// "lockaudit_lease" if not set. Tokens come from the sequence <table>_token.
	Table string `json:"table"`
	// Create makes table and sequence where they are missing.
	Create bool `json:"create"`
	// Watch is the application's own lease table, if it is another one.
	Watch *watched `json:"watch"`
}

var tableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,50}(\.[A-Za-z_][A-Za-z0-9_]{0,50})?$`)

func optionsOf(t locks.Target) (options, error) {
	o := options{Lock: lease, Database: "postgres", Table: "lockaudit_lease"}
	if err := strict.Options(t.Options, &o, locks.ErrRefused); err != nil {
		return o, err
	}
	switch {
	case o.Lock != lease && o.Lock != advisory:
		return o, fmt.Errorf("decode options: lock is %q, neither lease nor advisory: %w", o.Lock, locks.ErrRefused)
	case !tableName.MatchString(o.Table):
		return o, fmt.Errorf("decode options: table %q is no name of a table: %w", o.Table, locks.ErrRefused)
	}
	if o.Watch == nil {
		return o, nil
	}
	if o.Lock != lease {
		return o, fmt.Errorf("decode options: watch is a lease table and lock is %s: %w", o.Lock, locks.ErrRefused)
	}
	return o, o.Watch.validate()
}

// Open implements locks.Driver.
func (Driver) Open(ctx context.Context, t locks.Target) (locks.Client, error) {
	o, err := optionsOf(t)
	if err != nil {
		return nil, err
	}
	config, err := configure(t, o)
	if err != nil {
		return nil, err
	}
	if o.Lock == advisory {
		return openSessions(ctx, config)
	}
	if t.ReadOnly {
		o.Create = false
	}
	return openLeases(ctx, config, o)
}

// inspectCapabilities are what both kinds of client can do.
func inspectCapabilities() []locks.Capability {
	return []locks.Capability{locks.OwnerCheck, locks.Observe, locks.Inspect}
}

// dial connects once, and makes sure that the server answers.
func dial(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect to postgres: %w", denied(definite(err), config.User, config.Database, ""))
	}
	return conn, nil
}
