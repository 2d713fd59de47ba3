// Package etcd keeps rows in etcd and refuses stale fencing tokens: mark and row
// are read together, and written in one transaction that fails if either has
// changed since.
package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/lockaudit/lockaudit/resources"
	"github.com/lockaudit/lockaudit/strict"
)

// Kind is the etcd resource.
type Kind struct{}

// Name implements resources.Kind.
func (Kind) Name() string { return "etcd" }

// options of the kind in the plan.
type options struct {
	// Prefix of the keys of marks and rows; "/lockaudit-resource/" if not set.
	Prefix string `json:"prefix"`
}

// reachLimit is how long the service may take to answer the first request.
const reachLimit = 3 * time.Second

// Open implements resources.Kind.
func (Kind) Open(ctx context.Context, t resources.Target) (resources.Resource, error) {
	o := options{Prefix: "/lockaudit-resource/"}
	if err := strict.Options(t.Options, &o, resources.ErrRefused); err != nil {
		return nil, err
	}
	if len(t.Endpoints) == 0 {
		return nil, fmt.Errorf("open etcd resource: no endpoints: %w", resources.ErrRefused)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: t.Endpoints, Username: t.Username, Password: t.Password,
		DialTimeout: reachLimit,
		Logger:      zap.NewNop(), // stdout belongs to the client protocol
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: reachLimit,
		})},
	})
	if err != nil {
		return nil, fmt.Errorf("open etcd resource: %w", err)
	}
	r := &resource{etcd: client, prefix: o.Prefix}
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	if _, err := client.Get(ctx, o.Prefix, clientv3.WithCountOnly()); err != nil {
		return nil, errors.Join(fmt.Errorf("open etcd resource: reach %s: %w", strings.Join(t.Endpoints, ", "), err), r.Close())
	}
	return r, nil
}

type resource struct {
	etcd   *clientv3.Client
	prefix string
	close  sync.Once
}

// row is a row as stored. Its Seq is the key's version, which etcd counts.
type row struct {
	Value string `json:"value"`
	Token string `json:"token"`
	OpID  string `json:"op_id,omitempty"`
}

func (r *resource) markKey(name string) string { return r.prefix + "mark/" + resources.Scope(name) }
func (r *resource) rowKey(name string) string  { return r.prefix + "row/" + name }

// maxConflicts bounds the attempts of one write. Every conflict is another write
// that got through, so that even 100 writers of one scope need fewer.
const maxConflicts = 100

var errConflict = errors.New("too many conflicting writes")

// Write implements resources.Resource. An attempt that conflicted changed nothing
// and is repeated; one whose outcome is unknown is not.
func (r *resource) Write(ctx context.Context, e resources.Entry) (uint64, error) {
	token, err := resources.Number(e.Wire())
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", e.Row, err)
	}
	stored, err := json.Marshal(row{Value: e.Value, Token: e.Wire(), OpID: e.OpID})
	if err != nil {
		return 0, fmt.Errorf("write %s: encode: %w: %w", e.Row, err, resources.ErrRefused)
	}
	for range maxConflicts {
		seq, done, err := r.attempt(ctx, e.Row, token, string(stored))
		if err != nil {
			return 0, fmt.Errorf("write %s: %w", e.Row, err)
		}
		if done {
			return seq, nil
		}
	}
	return 0, fmt.Errorf("write %s: %w: %w", e.Row, errConflict, resources.ErrRefused)
}

func (r *resource) attempt(ctx context.Context, name, token, stored string) (seq uint64, done bool, err error) {
	markKey, rowKey := r.markKey(name), r.rowKey(name)
	seen, err := r.etcd.Txn(ctx).Then(clientv3.OpGet(markKey), clientv3.OpGet(rowKey)).Commit()
	if err != nil {
		return 0, false, err
	}
	var markAt, rowAt, version int64 // 0: the key does not exist
	if kvs := seen.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
		if mark := string(kvs[0].Value); resources.Below(token, mark) {
			return 0, false, fmt.Errorf("%w: token %s is below %s", resources.ErrStale, token, mark)
		}
		markAt = kvs[0].ModRevision
	}
	if kvs := seen.Responses[1].GetResponseRange().Kvs; len(kvs) > 0 {
		rowAt, version = kvs[0].ModRevision, kvs[0].Version
	}
	put, err := r.etcd.Txn(ctx).If(
		clientv3.Compare(clientv3.ModRevision(markKey), "=", markAt),
		clientv3.Compare(clientv3.ModRevision(rowKey), "=", rowAt),
	).Then(
		clientv3.OpPut(markKey, token),
		clientv3.OpPut(rowKey, stored),
	).Commit()
	if err != nil {
		return 0, false, err
	}
	return uint64(version) + 1, put.Succeeded, nil
}

// Read implements resources.Resource.
func (r *resource) Read(ctx context.Context, name string) (resources.Value, error) {
	got, err := r.etcd.Get(ctx, r.rowKey(name))
	if err != nil {
		return resources.Value{}, fmt.Errorf("read %s: %w", name, err)
	}
	if len(got.Kvs) == 0 {
		return resources.Value{}, nil
	}
	var stored row
	if err := json.Unmarshal(got.Kvs[0].Value, &stored); err != nil {
		return resources.Value{}, fmt.Errorf("read %s: decode: %w", name, err)
	}
	return resources.Value{Value: stored.Value, Token: stored.Token, Seq: uint64(got.Kvs[0].Version)}, nil
}

// Close implements resources.Resource.
func (r *resource) Close() error {
	var err error
	r.close.Do(func() { err = r.etcd.Close() })
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
