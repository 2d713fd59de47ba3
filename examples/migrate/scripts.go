package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// script is one file of the folder.
type script struct {
	name, sql string
	// again: it is run each time, after all that are run once.
	again bool
}

func readScripts(dir string) ([]script, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.sql"))
	if err != nil {
		return nil, err
	}
	var out []script
	for _, f := range files {
		sql, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		name := filepath.Base(f)
		out = append(out, script{name, string(sql), strings.HasPrefix(name, "R__")})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no *.sql in %s", dir)
	}
	slices.SortStableFunc(out, func(a, b script) int {
		if a.again != b.again {
			if a.again {
				return 1
			}
			return -1
		}
		return strings.Compare(a.name, b.name)
	})
	return out, nil
}

// apply runs a script that is due, in one transaction with its entry in the history.
// The transaction first raises the schema's token.
func (r *runner) apply(ctx context.Context, s script, token int64) error {
	due, err := r.due(ctx, s)
	if err != nil || !due {
		return err
	}
	select {
	case <-time.After(r.work):
	case <-ctx.Done():
		return ctx.Err()
	}
	err = r.do(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if err := r.raise(ctx, tx, token); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, s.sql); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		_, err := tx.Exec(ctx, `INSERT INTO schema_history (name, instance, token) VALUES ($1, $2, $3)
			ON CONFLICT (name) DO UPDATE SET instance = $2, token = $3, runs = schema_history.runs + 1`, s.name, r.instance, token)
		return err
	})
	if err != nil {
		r.refused(s.name, token, err)
		return err
	}
	r.metrics.scripts.WithLabelValues("applied").Inc()
	r.log.Info("script applied", "script", s.name, "token", token)
	return nil
}

// raise writes the token into the schema. With fencing, the statement that writes finds
// no row when a later holder has been there.
func (r *runner) raise(ctx context.Context, tx pgx.Tx, token int64) error {
	update := "UPDATE schema_fence SET token = $1 WHERE id = 1"
	if r.fence {
		update += " AND token <= $1"
	}
	raised, err := tx.Exec(ctx, update, token)
	if err == nil && raised.RowsAffected() == 0 {
		err = errOutdated
	}
	return err
}

func (r *runner) refused(what string, token int64, err error) {
	if !errors.Is(err, errOutdated) {
		r.metrics.scripts.WithLabelValues("failed").Inc()
		return
	}
	r.metrics.scripts.WithLabelValues("refused").Inc()
	r.log.Warn("script refused", "script", what, "reason", err, "token", token)
}

func (r *runner) due(ctx context.Context, s script) (bool, error) {
	if s.again {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var done bool
	err := r.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM schema_history WHERE name = $1)", s.name).Scan(&done)
	return !done, err
}
