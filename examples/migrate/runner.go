package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	etcd "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

type runner struct {
	config
	log     *slog.Logger
	scripts []script
	metrics *metrics
	etcd    *etcd.Client
	pool    *pgxpool.Pool
}

// schema has what was done, and the highest token under which anything was.
const schema = `
CREATE TABLE IF NOT EXISTS schema_history (
  name text PRIMARY KEY, instance text NOT NULL, token bigint NOT NULL, runs bigint NOT NULL DEFAULT 1);
CREATE TABLE IF NOT EXISTS schema_fence (id int PRIMARY KEY, token bigint NOT NULL);
INSERT INTO schema_fence VALUES (1, 0) ON CONFLICT DO NOTHING;`

// patience bounds one script.
const patience = 3 * time.Second

// errOutdated: a later holder of the mutex has written already.
var errOutdated = errors.New("a later holder has written already")

// open connects, and waits for a database that is not there yet.
func (r *runner) open(ctx context.Context, endpoints []string) (err error) {
	if r.etcd, err = etcd.New(etcd.Config{Endpoints: endpoints, DialTimeout: 5 * time.Second}); err != nil {
		return err
	}
	if r.pool, err = pgxpool.New(ctx, r.postgres); err != nil {
		return err
	}
	for {
		err := r.do(ctx, func(ctx context.Context, tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(816)"); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, schema)
			return err
		})
		if err == nil || ctx.Err() != nil {
			return err
		}
		r.log.Warn("database is not ready", "reason", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (r *runner) close() {
	r.pool.Close()
	_ = r.etcd.Close() // its leases end by themselves
}

func (r *runner) do(ctx context.Context, work func(context.Context, pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error { return work(ctx, tx) })
}

// loop migrates once, or whenever it is due until ctx ends.
func (r *runner) loop(ctx context.Context) error {
	r.log.Info("migrate starts", "scripts", len(r.scripts), "every", r.every, "ttl", r.ttl, "fence", r.fence)
	for {
		err := r.once(ctx)
		if r.every == 0 {
			return err
		}
		if err != nil && ctx.Err() == nil {
			r.log.Error("migrate failed", "reason", err)
		}
		select {
		case <-ctx.Done():
			r.log.Info("migrate ends")
			return nil
		case <-time.After(r.every):
		}
	}
}

// once waits for the mutex, brings the schema up to date and gives the mutex back.
func (r *runner) once(ctx context.Context) (err error) {
	session, err := concurrency.NewSession(r.etcd, concurrency.WithTTL(int(r.ttl.Seconds())))
	if err != nil {
		return err
	}
	defer session.Close()
	mutex := concurrency.NewMutex(session, r.prefix)
	if err := mutex.Lock(ctx); err != nil {
		r.metrics.lock.WithLabelValues("error").Inc()
		return fmt.Errorf("lock: %w", err)
	}
	r.metrics.lock.WithLabelValues("acquired").Inc()
	token, err := r.sign(ctx, mutex)
	if err != nil {
		return err
	}
	r.log.Info("lock acquired", "prefix", r.prefix, "token", token)
	if err := r.do(ctx, func(ctx context.Context, tx pgx.Tx) error { return r.raise(ctx, tx, token) }); err != nil {
		r.refused("begin", token, err)
		return err
	}
	r.log.Info("run started", "token", token)
	// The session is renewed by its own goroutine. Whether it still is, nobody asks: the
	// work is short, and the lease is long.
	for _, s := range r.scripts {
		if err := r.apply(ctx, s, token); err != nil {
			return err
		}
	}
	return mutex.Unlock(ctx)
}

// sign writes who holds the mutex into its key, for people who look into etcd, and
// returns the revision at which the key was made: the fencing token.
func (r *runner) sign(ctx context.Context, m *concurrency.Mutex) (token int64, err error) {
	name := fmt.Sprintf("%s/%d", r.instance, os.Getpid())
	done, err := r.etcd.Txn(ctx).If(m.IsOwner()).
		Then(etcd.OpPut(m.Key(), name, etcd.WithIgnoreLease()), etcd.OpGet(m.Key())).Commit()
	if err != nil {
		return 0, err
	}
	if !done.Succeeded {
		return 0, errors.New("the mutex was lost as soon as it was won")
	}
	return done.Responses[1].GetResponseRange().Kvs[0].CreateRevision, nil
}
