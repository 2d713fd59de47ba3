package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/lockaudit/lockaudit/locks"
)

// wantsCertificate asks an https endpoint for its version without showing a
// client certificate. A server that insists on one answers with a TLS alert: that
// is authentication too, below etcd's own users.
func wantsCertificate(ctx context.Context, endpoint string, t locks.Target) (bool, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.TLS != nil {
		without := *t.TLS
		without.CertFile, without.KeyFile = "", ""
		var err error
		if config, err = without.Config(); err != nil {
			return false, err
		}
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/version", nil)
	if err != nil {
		return false, fmt.Errorf("ask without certificate: %w", err)
	}
	answer, err := (&http.Client{Transport: transport}).Do(req)
	if err == nil {
		return false, answer.Body.Close()
	}
	// crypto/tls reports an alert from the other side under this name.
	var remote *net.OpError
	if errors.As(err, &remote) && remote.Op == "remote error" {
		return true, nil
	}
	return false, fmt.Errorf("ask without certificate: %w", err)
}
