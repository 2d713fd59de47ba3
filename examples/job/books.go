package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// books are the tables of the invoices.
type books struct {
	config
	pool *pgxpool.Pool
}

// errOutdated: a later holder of the lock has written already.
var errOutdated = errors.New("a later holder has written already")

// schema is made by whichever instance starts first.
const schema = `
CREATE TABLE IF NOT EXISTS account (
  id int PRIMARY KEY, total bigint NOT NULL, run text NOT NULL, token bigint NOT NULL);
CREATE TABLE IF NOT EXISTS invoices (
  number bigserial PRIMARY KEY, instance text NOT NULL, token bigint NOT NULL,
  amount bigint NOT NULL, written timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE SEQUENCE IF NOT EXISTS billing_token;
INSERT INTO account VALUES (1, 0, '', 0) ON CONFLICT DO NOTHING;`

// patience bounds one conversation with the database.
const patience = 3 * time.Second

// openBooks waits for a database that is not there yet.
func openBooks(ctx context.Context, c config, log *slog.Logger) (*books, error) {
	pool, err := pgxpool.New(ctx, c.postgres)
	if err != nil {
		return nil, err
	}
	b := &books{c, pool}
	for {
		err := b.do(ctx, func(ctx context.Context, tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(815)"); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, schema)
			return err
		})
		if err == nil || ctx.Err() != nil {
			return b, err
		}
		log.Warn("database is not ready", "reason", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (b *books) close() { b.pool.Close() }

func (b *books) do(ctx context.Context, work func(context.Context, pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return pgx.BeginFunc(ctx, b.pool, func(tx pgx.Tx) error { return work(ctx, tx) })
}

func (b *books) number(ctx context.Context, query string) (n int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return n, b.pool.QueryRow(ctx, query).Scan(&n)
}

func (b *books) nextToken(ctx context.Context) (int64, error) {
	return b.number(ctx, "SELECT nextval('billing_token')")
}

// guarded runs an update of the account and wants it to have found the row. With
// fencing, the row takes no token below the highest that it has seen, in the statement
// that writes.
func (b *books) guarded(ctx context.Context, tx pgx.Tx, set string, token int64, value any) error {
	update := "UPDATE account SET " + set + ", token = $1 WHERE id = 1"
	if b.fence {
		update += " AND token <= $1"
	}
	done, err := tx.Exec(ctx, update, token, value)
	if err != nil {
		return fmt.Errorf("update account: %w", err)
	}
	if done.RowsAffected() == 0 {
		return errOutdated
	}
	return nil
}

// begin says whose run it is, and returns the total.
func (b *books) begin(ctx context.Context, token int64) (total int64, err error) {
	err = b.do(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if err := b.guarded(ctx, tx, "run = $2", token, b.instance); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT total FROM account WHERE id = 1").Scan(&total)
	})
	return total, err
}

// write adds an invoice and sets the total.
func (b *books) write(ctx context.Context, token, total int64) (number int64, err error) {
	err = b.do(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if err := b.guarded(ctx, tx, "total = $2", token, total); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "INSERT INTO invoices (instance, token, amount) VALUES ($1, $2, 100) RETURNING number",
			b.instance, token).Scan(&number)
	})
	return number, err
}
