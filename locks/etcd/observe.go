package etcd

import (
	"context"
	"fmt"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lockaudit/lockaudit/history"
)

// Observe implements locks.Observer: the oldest key below the mutex's prefix is
// the holder, the others wait.
func (c *client) Observe(ctx context.Context, key string) (history.Holder, error) {
	got, err := c.etcd.Get(ctx, key+"/", clientv3.WithFirstCreate()...)
	if err != nil {
		return history.Holder{}, fmt.Errorf("observe %s: %w", key, needs(err, key+"/", true))
	}
	if len(got.Kvs) == 0 {
		return history.Holder{}, nil
	}
	first := got.Kvs[0]
	holder := history.Holder{Held: true, ID: strconv.FormatInt(first.CreateRevision, 10), Owner: string(first.Value)}
	if first.Lease == 0 {
		return holder, nil
	}
	lease, err := c.etcd.TimeToLive(ctx, clientv3.LeaseID(first.Lease))
	if err != nil {
		return history.Holder{}, fmt.Errorf("observe %s: read lease: %w", key, needs(err, string(first.Key), false))
	}
	// An expired lease (-1) takes its key with it in a moment; the key decides.
	holder.Lease = time.Duration(max(lease.GrantedTTL, 0)) * time.Second
	holder.Left = time.Duration(max(lease.TTL, 0)) * time.Second
	return holder, nil
}
