package main

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

type job struct {
	config
	log     *slog.Logger
	lock    *lock
	books   *books
	metrics *metrics
}

// schedule runs the job whenever it is due, until ctx ends.
func (j *job) schedule(ctx context.Context) {
	tick := time.NewTicker(j.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			j.once(ctx)
		}
	}
}

// once does the job if no other instance is at it. The lease is longer than the work, so
// that nobody thinks of renewing it.
func (j *job) once(ctx context.Context) {
	hold, err := j.lock.acquire(ctx)
	switch {
	case errors.Is(err, errTaken):
		j.metrics.lock.WithLabelValues("held").Inc()
		j.log.Info("lock not acquired", "key", j.key, "reason", "held by another instance")
		return
	case err != nil:
		j.metrics.lock.WithLabelValues("error").Inc()
		j.log.Warn("lock not acquired", "key", j.key, "reason", err)
		return
	}
	j.metrics.lock.WithLabelValues("acquired").Inc()
	j.log.Info("lock acquired", "key", j.key, "token", hold.token)
	j.run(ctx, hold)
	if err := hold.release(ctx); err != nil {
		j.log.Warn("lock not released", "key", j.key, "reason", err)
	}
}

// run reads the total and writes invoices, each with the new total, which takes a while
// each time: read, modify, write, which is what the lock is there for.
func (j *job) run(ctx context.Context, h hold) {
	total, err := j.books.begin(ctx, h.token)
	if err != nil {
		j.failed(err, h)
		return
	}
	j.log.Info("run started", "total", total, "token", h.token)
	for range j.batch {
		select {
		case <-time.After(j.work):
		case <-ctx.Done():
			return
		}
		total += 100
		number, err := j.books.write(ctx, h.token, total)
		if err != nil {
			j.failed(err, h)
			return
		}
		j.metrics.invoices.WithLabelValues("written").Inc()
		j.log.Info("invoice written", "number", number, "total", total, "token", h.token)
	}
}

func (j *job) failed(err error, h hold) {
	if errors.Is(err, errOutdated) {
		j.metrics.invoices.WithLabelValues("refused").Inc()
		j.log.Warn("invoice refused", "reason", err, "token", h.token)
		return
	}
	j.metrics.invoices.WithLabelValues("failed").Inc()
	j.log.Error("invoice failed", "reason", err, "token", h.token)
}
