package etcd

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// reasonLimit bounds the question why an endpoint did not answer.
const reasonLimit = time.Second

// reason asks an endpoint that did not answer for its version over HTTP: gRPC tries
// again until the time is over, and then knows only that it is. nil: no other reason
// is known.
func reason(ctx context.Context, config clientv3.Config) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reasonLimit)
	defer cancel()
	transport := &http.Transport{TLSClientConfig: config.TLS, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Endpoints[0]+"/version", nil)
	if err != nil {
		return err
	}
	answer, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	words, err := io.ReadAll(io.LimitReader(answer.Body, 200))
	if err != nil {
		return err
	}
	return fmt.Errorf("it answers %s: %s", answer.Status, strings.TrimSpace(string(words)))
}
