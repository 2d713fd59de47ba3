package main

import (
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

type metrics struct {
	registry      *prometheus.Registry
	lock, scripts *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		lock: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "migrate_lock_total", Help: "Waits for the mutex by how they ended.",
		}, []string{"outcome"}),
		scripts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "migrate_scripts_total", Help: "Scripts by what became of them.",
		}, []string{"outcome"}),
	}
	m.registry.MustRegister(m.lock, m.scripts)
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
