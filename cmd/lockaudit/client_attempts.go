package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/clients"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// observe is where a lock client tells how its acquires end, and of which of them.
type observe struct {
	listen, log, tell string
}

// What a client tells of: everything, or as the many applications do whose failures
// nobody sees, of the acquires that succeed alone.
const (
	tellAll     = "all"
	tellGranted = "granted"
)

// attempts counts and logs acquires. The zero value does neither.
type attempts struct {
	o      observe
	stderr io.Writer
	file   *os.File
	logger *slog.Logger
	total  *prometheus.CounterVec
	server *http.Server

	listen sync.Once
}

func (o observe) open(stderr io.Writer) (*attempts, error) {
	if o.tell != "" && o.tell != tellAll && o.tell != tellGranted {
		return nil, exit{exitUsage, hinted{fmt.Errorf("unknown --tell %q", o.tell), "it is " + tellAll + " or " + tellGranted}}
	}
	a := &attempts{o: o, stderr: stderr}
	if o.log != "" {
		var err error
		// Shared by the clients of a node: a line is one write, appended whole. Others
		// than its owner read it.
		if a.file, err = os.OpenFile(o.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644); err != nil {
			return nil, fmt.Errorf("open log: %w", err)
		}
		a.logger = slog.New(slog.NewTextHandler(a.file, nil))
	}
	if o.listen != "" {
		a.total = prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lock_acquire_total", Help: "Acquires of a lock by how they ended.",
		}, []string{"outcome"})
	}
	return a, nil
}

func (a *attempts) record(t clients.Attempt) {
	if a.o.tell == tellGranted && t.Err != nil {
		return
	}
	if a.total != nil {
		// Not before the first acquire: an observer on the same node never acquires,
		// and must not take the address from the client that does.
		a.listen.Do(a.serve)
		a.total.WithLabelValues(t.Outcome).Inc()
	}
	switch {
	case a.logger == nil:
	case a.o.tell == tellGranted:
		a.logger.Info("lock acquired", "key", t.Key, "took", t.Took.Round(time.Microsecond))
	case t.Err != nil:
		a.logger.Warn("lock not acquired", "key", t.Key, "outcome", t.Outcome, "took", t.Took.Round(time.Microsecond), "err", t.Err)
	}
}

// serve begins to listen. A client that cannot still locks: it says so and goes on.
func (a *attempts) serve() {
	listener, err := net.Listen("tcp", a.o.listen)
	if err != nil {
		fmt.Fprintf(a.stderr, "lockaudit: serve metrics: %v\n", err)
		return
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(a.total)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	a.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := a.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintf(a.stderr, "lockaudit: serve metrics: %v\n", err)
		}
	}()
}

func (a *attempts) close() error {
	var errs []error
	if a.server != nil {
		errs = append(errs, a.server.Close())
	}
	if a.file != nil {
		errs = append(errs, a.file.Close())
	}
	return errors.Join(errs...)
}
