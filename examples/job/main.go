// Command billing is a scheduled job that runs on every machine of a service: whichever
// instance gets the lock in Redis writes the next invoice into PostgreSQL.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// config comes from flags, and their defaults from the environment.
type config struct {
	redis, postgres, key, instance, listen, logFile string
	every, work, ttl                                time.Duration
	batch                                           int
	fence                                           bool
}

func env(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

func readConfig(args []string) (config, error) {
	host, err := os.Hostname()
	if err != nil {
		return config{}, err
	}
	var c config
	f := flag.NewFlagSet("billing", flag.ContinueOnError)
	f.StringVar(&c.redis, "redis", env("REDIS_ADDR", "127.0.0.1:6379"), "Redis that holds the lock")
	f.StringVar(&c.postgres, "postgres", env("DATABASE_URL", "postgres://app@127.0.0.1:5432/app"), "database of the invoices")
	f.StringVar(&c.key, "key", env("LOCK_KEY", "/locks/billing"), "key of the lock")
	f.StringVar(&c.instance, "instance", env("INSTANCE", host), "name of this instance")
	f.StringVar(&c.listen, "listen", env("LISTEN", ":9464"), "address of /metrics and /healthz")
	f.StringVar(&c.logFile, "log-file", env("LOG_FILE", ""), "append the log to this file instead of stderr")
	f.DurationVar(&c.every, "every", 2*time.Second, "how often the job is due")
	f.DurationVar(&c.work, "work", 200*time.Millisecond, "how long an invoice takes")
	f.IntVar(&c.batch, "batch", 6, "how many invoices a run writes")
	f.DurationVar(&c.ttl, "ttl", 2*time.Second, "lease of the lock")
	f.BoolVar(&c.fence, "fence", env("FENCE", "") == "true", "let the database refuse what an outdated holder writes")
	return c, f.Parse(args)
}

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "billing:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	c, err := readConfig(args)
	if err != nil {
		return err
	}
	var out io.Writer = os.Stderr
	if c.logFile != "" {
		file, err := os.OpenFile(c.logFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
		if err != nil {
			return err
		}
		defer file.Close()
		out = file
	}
	log := slog.New(slog.NewTextHandler(out, nil)).With("instance", c.instance)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	books, err := openBooks(ctx, c, log)
	if err != nil {
		return err
	}
	defer books.close()
	j := &job{config: c, log: log, lock: newLock(c, books), books: books, metrics: newMetrics()}
	serving, err := j.metrics.serve(c.listen)
	if err != nil {
		return err
	}
	defer serving.Close()
	log.Info("billing starts", "every", c.every, "ttl", c.ttl, "fence", c.fence)
	j.schedule(ctx)
	log.Info("billing ends")
	return nil
}
