// Command migrate brings a PostgreSQL schema up to date. Every instance of a service
// starts it; a mutex in etcd lets one of them work at a time.
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
	"strings"
	"syscall"
	"time"
)

// config comes from flags, and their defaults from the environment.
type config struct {
	etcd, postgres, dir, prefix, instance, listen, logFile string
	every, work, ttl                                       time.Duration
	fence                                                  bool
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
	f := flag.NewFlagSet("migrate", flag.ContinueOnError)
	f.StringVar(&c.etcd, "etcd", env("ETCD_ENDPOINTS", "http://127.0.0.1:2379"), "etcd, comma-separated")
	f.StringVar(&c.postgres, "postgres", env("DATABASE_URL", "postgres://app@127.0.0.1:5432/app"), "database to migrate")
	f.StringVar(&c.dir, "dir", env("MIGRATIONS", "sql"), "folder of the scripts: V001__name.sql once, R__name.sql each time")
	f.StringVar(&c.prefix, "prefix", env("LOCK_PREFIX", "/locks/migrate"), "prefix of the mutex in etcd")
	f.StringVar(&c.instance, "instance", env("INSTANCE", host), "name of this instance")
	f.StringVar(&c.listen, "listen", env("LISTEN", ""), "address of /metrics and /healthz; empty: none")
	f.StringVar(&c.logFile, "log-file", env("LOG_FILE", ""), "append the log to this file instead of stderr")
	f.DurationVar(&c.every, "every", 0, "look for new scripts so often; 0: once, and then end")
	f.DurationVar(&c.work, "work", 0, "wait so long before each script, as a large table would")
	f.DurationVar(&c.ttl, "ttl", 10*time.Second, "lease of the mutex")
	f.BoolVar(&c.fence, "fence", env("FENCE", "") == "true", "let the database refuse what an outdated holder writes")
	return c, f.Parse(args)
}

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "migrate:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	c, err := readConfig(args)
	if err != nil {
		return err
	}
	scripts, err := readScripts(c.dir)
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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r := &runner{config: c, log: slog.New(slog.NewTextHandler(out, nil)).With("instance", c.instance), scripts: scripts, metrics: newMetrics()}
	if err := r.open(ctx, strings.Split(c.etcd, ",")); err != nil {
		return err
	}
	defer r.close()
	if c.listen != "" {
		serving, err := r.metrics.serve(c.listen)
		if err != nil {
			return err
		}
		defer serving.Close()
	}
	return r.loop(ctx)
}
