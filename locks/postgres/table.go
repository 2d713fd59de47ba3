package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lockaudit/lockaudit/locks"
)

// statements of a lease. Each is one conditional statement that the server carries out
// under the row's lock, and all times are the server's.
//
// The token is drawn where the row is locked: drawn before, as a value of the INSERT,
// one that had to wait would be granted a lower one than the holder before it. For the
// same reason a release leaves the row in its place: an INSERT beside a DELETE would
// draw too early.
type statements struct{ create, acquire, renew, release, observe, describe string }

func statementsOf(o options) statements {
	parts := strings.Split(o.Table, ".")
	table := pgx.Identifier(parts).Sanitize()
	parts[len(parts)-1] += "_token"
	names := strings.NewReplacer("{table}", table, "{sequence}", pgx.Identifier(parts).Sanitize(), "{ttl}", "$N::float8 * interval '1 millisecond'")
	fill := func(sql, ttl string) string { return strings.ReplaceAll(names.Replace(sql), "$N", ttl) }
	return statements{
		create: fill(`
CREATE SEQUENCE IF NOT EXISTS {sequence};
CREATE TABLE IF NOT EXISTS {table} (
  key        text PRIMARY KEY,
  token      bigint NOT NULL,
  expires_at timestamptz NOT NULL
)`, ""),
		acquire: fill(`
INSERT INTO {table} AS held (key, token, expires_at)
VALUES ($1, nextval('{sequence}'), clock_timestamp() + {ttl})
ON CONFLICT (key) DO UPDATE SET token = nextval('{sequence}'), expires_at = clock_timestamp() + {ttl}
WHERE held.expires_at <= clock_timestamp()
RETURNING token`, "$2"),
		renew: fill(`
UPDATE {table} SET expires_at = clock_timestamp() + {ttl}
WHERE key = $1 AND token = $2 AND expires_at > clock_timestamp()
RETURNING token`, "$3"),
		release: fill(`
UPDATE {table} SET expires_at = '-infinity'
WHERE key = $1 AND token = $2 AND expires_at > clock_timestamp()
RETURNING token`, ""),
		observe: fill(`
SELECT token, ceil(extract(epoch FROM expires_at - clock_timestamp()) * 1000000)::bigint
FROM {table} WHERE key = $1 AND expires_at > clock_timestamp()`, ""),
		describe: fill(`
SELECT t.relpersistence = 'p' AND s.relpersistence = 'p', q.seqcache, q.seqcycle, q.seqincrement
FROM pg_class t, pg_class s JOIN pg_sequence q ON q.seqrelid = s.oid
WHERE t.oid = to_regclass('{table}') AND s.oid = to_regclass('{sequence}')`, ""),
	}
}

// createKey serialises the makers of a table: CREATE … IF NOT EXISTS of two at once
// fails for one of them.
const createKey = "lockaudit lease table"

// table is what the catalog says of the lease table and its sequence.
type table struct {
	// logged: a crash leaves it as it was; an unlogged one is empty afterwards.
	logged bool
	// cache is how many tokens a session draws at once.
	cache, increment int64
	cycle            bool
}

// ordered: a later grant has a larger token, whichever session drew it, and after a
// crash too.
func (t table) ordered() bool { return t.logged && t.cache == 1 && t.increment > 0 && !t.cycle }

// errNoTable: there is no place for leases.
var errNoTable = errors.New("find lease table")

func describe(ctx context.Context, conn *pgx.Conn, o options) (t table, err error) {
	err = conn.QueryRow(ctx, statementsOf(o).describe).Scan(&t.logged, &t.cache, &t.cycle, &t.increment)
	if errors.Is(err, pgx.ErrNoRows) {
		return t, fmt.Errorf("%w: %s or %[2]s_token is missing; make them as docs/backends/postgres.md shows, or allow it with the option create: true: %w", errNoTable, o.Table, locks.ErrRefused)
	}
	if err != nil {
		return t, fmt.Errorf("find lease table: %w", definite(err))
	}
	return t, nil
}

// prepare makes sure that the table is there, and makes it if it may.
func prepare(ctx context.Context, conn *pgx.Conn, o options) (table, error) {
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	if o.Create {
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", createKey); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, statementsOf(o).create, pgx.QueryExecModeSimpleProtocol)
			return err
		})
		if err != nil {
			return table{}, fmt.Errorf("create lease table: %w", definite(err))
		}
	}
	return describe(ctx, conn, o)
}

// hangUp closes a connection politely, for up to a second.
func hangUp(conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return conn.Close(ctx)
}
