package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/lockaudit/lockaudit/lab/ledger"
)

// closeGrace is how long requests under way may take when the ledger ends.
const closeGrace = 2 * time.Second

// ServeLedger serves the ledger in dir at address until ctx ends. variant is the
// variant's word.
func ServeLedger(ctx context.Context, address, dir, variant string) (err error) {
	v, err := ledger.ParseVariant(variant)
	if err != nil {
		return err
	}
	l, err := ledger.Open(dir, v)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("serve ledger: %w", err)
	}
	server := &http.Server{Handler: l, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve ledger: %w", err)
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeGrace)
	defer cancel()
	if err := server.Shutdown(ending); err != nil {
		return fmt.Errorf("close ledger: %w", err)
	}
	return nil
}
