package main

import (
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

type metrics struct {
	registry       *prometheus.Registry
	lock, invoices *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		lock: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "billing_lock_total", Help: "Attempts to get the lock by how they ended.",
		}, []string{"outcome"}),
		invoices: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "billing_invoices_total", Help: "Invoices by what became of them.",
		}, []string{"outcome"}),
	}
	m.registry.MustRegister(m.lock, m.invoices)
	return m
}

// serve listens until the server that it returns is closed.
func (m *metrics) serve(address string) (*http.Server, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = s.Serve(l) }() // until it is closed
	return s, nil
}
