package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lockaudit/lockaudit/resources"
)

// maxRows bounds what a query may list.
const maxRows = 10_000

// Query implements resources.Lister: the rows of a query in a transaction that only
// reads, each as its columns joined by blanks.
func (r *resource) Query(ctx context.Context, sql string) (lines []string, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	err = pgx.BeginTxFunc(ctx, r.pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, sql)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			values, err := rows.Values()
			if err != nil {
				return err
			}
			if len(lines) == maxRows {
				return fmt.Errorf("more than %d rows: %w", maxRows, resources.ErrRefused)
			}
			lines = append(lines, strings.TrimSuffix(fmt.Sprintln(values...), "\n"))
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("query: %w", refused(err))
	}
	return lines, nil
}
