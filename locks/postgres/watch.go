package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/survey"
)

// watched is an application's own lease table, of whatever columns: its rows are looked
// at and never written. The audit's own leases are in a table of the audit's own.
type watched struct {
	// Table as name or schema.name, exactly as the catalog has it.
	Table string `json:"table"`
	// Key, Owner and Expires are columns. Expires is a timestamp; one without a time zone
	// is taken for UTC, as ShedLock and most ORMs write it.
	Key     string `json:"key"`
	Owner   string `json:"owner"`
	Expires string `json:"expires"`
}

func (w watched) validate() error {
	if !tableName.MatchString(w.Table) {
		return fmt.Errorf("decode options: watch.table %q is no name of a table: %w", w.Table, locks.ErrRefused)
	}
	for name, column := range map[string]string{"key": w.Key, "owner": w.Owner, "expires": w.Expires} {
		if column == "" || len(column) > 63 || strings.ContainsRune(column, 0) {
			return fmt.Errorf("decode options: watch.%s %q is no name of a column: %w", name, column, locks.ErrRefused)
		}
	}
	return nil
}

func (w watched) quoted() string { return pgx.Identifier(strings.Split(w.Table, ".")).Sanitize() }

// rows is the statement that reads the leases that run, at most as many as $1 says, of
// keys that begin with $2; $3 is the only key, if it is not empty.
func (w watched) rows() string {
	column := func(name string) string { return pgx.Identifier{name}.Sanitize() }
	// A timestamp without time zone is compared with the time in UTC.
	left := strings.NewReplacer("{e}", column(w.Expires)).Replace(
		`CASE WHEN NOT isfinite({e}) THEN NULL WHEN pg_typeof({e}) = 'timestamp with time zone'::regtype THEN {e}::timestamptz ELSE {e}::timestamp AT TIME ZONE 'UTC' END - clock_timestamp()`)
	return strings.NewReplacer(
		"{key}", column(w.Key), "{owner}", column(w.Owner), "{table}", w.quoted(), "{left}", left,
		"{size}", fmt.Sprint(survey.MaxValue),
	).Replace(`
SELECT key, owner, least(ceil(extract(epoch FROM rest) * 1000000), 9e15)::bigint FROM (
  SELECT {key}::text AS key, left(coalesce({owner}::text, ''), {size}) AS owner,
    {left} AS rest
  FROM {table}
  WHERE {key} IS NOT NULL
) AS lease
WHERE rest > interval '0' AND starts_with(key, $2) AND ($3 = '' OR key = $3)
LIMIT $1`)
}

// row is one lease that runs.
type row struct {
	key, owner string
	left       time.Duration
}

// read reads the leases that run.
func (w watched) read(ctx context.Context, q querier, limit int, prefix, key string) ([]row, error) {
	found, err := q.Query(ctx, w.rows(), limit, prefix, key)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(found, func(r pgx.CollectableRow) (out row, err error) {
		var micros int64
		err = r.Scan(&out.key, &out.owner, &micros)
		out.left = time.Duration(micros) * time.Microsecond
		return out, err
	})
}

// querier is a connection or a pool of them.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// observe asks the application's table who holds a key.
func (w watched) observe(ctx context.Context, q querier, key string) (history.Holder, error) {
	rows, err := w.read(ctx, q, 1, "", key)
	if err != nil || len(rows) == 0 {
		return history.Holder{}, err
	}
	return history.Holder{Held: true, ID: rows[0].owner, Left: rows[0].left}, nil
}
