package etcd

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/locks"
)

// clocks compares the members' wall clocks with ours. etcd has no request for it, but
// its HTTP answers carry the date, in whole seconds.
func clocks(ctx context.Context, etcd *clientv3.Client, t locks.Target, d *facts.Deployment) {
	config, err := configure(t)
	if err != nil {
		unknown(d, "clocks", err)
		return
	}
	transport := &http.Transport{TLSClientConfig: config.TLS, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	errs := make([]error, len(d.Members))
	var asked sync.WaitGroup
	for i := range d.Members {
		if m := &d.Members[i]; m.Err == "" && m.Version != "" { // it was reached under its endpoint
			asked.Go(func() { errs[i] = readClock(ctx, transport, m) })
		}
	}
	asked.Wait()
	for i, err := range errs {
		if err != nil {
			unknown(d, "clock of "+d.Members[i].Endpoint, err)
		}
	}
}

// readClock sets a member's clock from the date of one answer: it was that second,
// some time between the request and the answer.
func readClock(ctx context.Context, transport *http.Transport, m *facts.Member) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.Endpoint+"/version", nil)
	if err != nil {
		return err
	}
	before := time.Now()
	answer, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	half := time.Since(before) / 2
	if err := answer.Body.Close(); err != nil {
		return err
	}
	date, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		return fmt.Errorf("read date: %w", err)
	}
	const halfSecond = time.Second / 2
	ahead := date.Add(halfSecond).Sub(before.Add(half).Round(0)) // Round(0): compare wall clocks
	m.Clock, m.ClockError = &ahead, halfSecond+half
	return nil
}
