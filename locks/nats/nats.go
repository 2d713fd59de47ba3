// Package nats locks with a key of a JetStream key-value bucket, as NATS users do:
// Create takes the lock, Update renews it, and its revision, which is a sequence number
// of the bucket's stream, is the fencing token.
//
// The lease is the bucket's TTL, one for all its keys: an Update drops the TTL that a
// single key may have been given at its creation, and with it the end of the lease. It
// runs on the servers' wall clocks, by which messages are stamped and aged.
package nats

import (
	"context"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/strict"
)

// Driver is the nats backend.
type Driver struct{}

// Name implements locks.Driver.
func (Driver) Name() string { return "nats" }

// options of the backend in the plan.
type options struct {
	// Bucket of the locks; "locks" if not set.
	Bucket string `json:"bucket"`
	// Create makes the bucket where it is missing, with the lock's TTL and Replicas
	// copies of it: as many as there are endpoints, at most 5, if not set.
	Create   bool `json:"create"`
	Replicas int  `json:"replicas"`
	// Creds is a credentials file on the node of the client.
	Creds string `json:"creds"`
}

var bucketName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func optionsOf(t locks.Target) (options, error) {
	o := options{Bucket: "locks"}
	if err := strict.Options(t.Options, &o, locks.ErrRefused); err != nil {
		return o, err
	}
	switch {
	case !bucketName.MatchString(o.Bucket):
		return o, fmt.Errorf("decode options: bucket %q is no name of a bucket: %w", o.Bucket, locks.ErrRefused)
	case o.Replicas < 0 || o.Replicas > mostReplicas:
		return o, fmt.Errorf("decode options: replicas is %d, NATS keeps 1 to %d: %w", o.Replicas, mostReplicas, locks.ErrRefused)
	}
	if o.Replicas == 0 {
		o.Replicas = min(max(len(t.Endpoints), 1), mostReplicas)
	}
	return o, nil
}

// mostReplicas is StreamMaxReplicas of the server.
const mostReplicas = 5

// Open implements locks.Driver.
func (Driver) Open(ctx context.Context, t locks.Target) (locks.Client, error) {
	o, err := optionsOf(t)
	if err != nil {
		return nil, err
	}
	nc, err := connect(ctx, t, o)
	if err != nil {
		return nil, err
	}
	c := &client{nc: nc, bucket: o.Bucket, holds: map[string]*hold{}}
	if c.kv, c.lease, err = openBucket(ctx, nc, t, o); err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

// client is one party. It does not renew by itself and does not notice a loss: NATS has
// no lock of its own whose library would.
type client struct {
	nc     *nats.Conn
	kv     jetstream.KeyValue
	bucket string
	lease  time.Duration // of every key
	close  sync.Once

	mu    sync.Mutex
	holds map[string]*hold // by key
}

// hold is one grant of this client.
type hold struct {
	token    history.Token
	revision uint64 // of the key, after the latest renewal
	nonce    string // tells the own entries from others'
}

// Capabilities implements locks.Client.
func (*client) Capabilities() []locks.Capability {
	return []locks.Capability{locks.Fencing, locks.Renew, locks.OwnerCheck, locks.Observe, locks.Inspect}
}

// Close implements locks.Client. What is held runs out by itself.
func (c *client) Close() error {
	c.close.Do(c.nc.Close)
	return nil
}
