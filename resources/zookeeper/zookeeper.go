// Package zookeeper keeps rows in ZooKeeper and refuses stale fencing tokens: mark and
// row are read, and written in one multi that fails if either has changed since.
package zookeeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/lockaudit/lockaudit/resources"
	"github.com/lockaudit/lockaudit/strict"
)

// Kind is the zookeeper resource.
type Kind struct{}

// Name implements resources.Kind.
func (Kind) Name() string { return "zookeeper" }

// options of the kind in the plan.
type options struct {
	// Prefix of the nodes of marks and rows; "/lockaudit-resource" if not set.
	Prefix string `json:"prefix"`
}

const (
	// reachLimit is how long the service may take to give a session.
	reachLimit = 5 * time.Second
	// sessionTimeout of a session that owns no node.
	sessionTimeout = 10 * time.Second
)

// Open implements resources.Kind.
func (Kind) Open(ctx context.Context, t resources.Target) (resources.Resource, error) {
	o := options{Prefix: "/lockaudit-resource"}
	if err := strict.Options(t.Options, &o, resources.ErrRefused); err != nil {
		return nil, err
	}
	if len(t.Endpoints) == 0 {
		return nil, fmt.Errorf("open zookeeper resource: no endpoints: %w", resources.ErrRefused)
	}
	conn, events, err := zk.Connect(t.Endpoints, sessionTimeout, zk.WithLogger(quiet{}), zk.WithLogInfo(false))
	if err != nil {
		return nil, fmt.Errorf("open zookeeper resource: %w", err)
	}
	go func() {
		for range events { // until the connection is closed
		}
	}()
	r := &resource{zk: conn, prefix: path.Clean("/" + o.Prefix), acl: zk.WorldACL(zk.PermAll)}
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	if err := r.prepare(ctx, t); err != nil {
		return nil, errors.Join(fmt.Errorf("open zookeeper resource: reach %s: %w", strings.Join(t.Endpoints, ", "), definite(err)), r.Close())
	}
	return r, nil
}

// quiet: stdout belongs to the client protocol.
type quiet struct{}

func (quiet) Printf(string, ...any) {}

type resource struct {
	zk     *zk.Conn
	prefix string
	acl    []zk.ACL
	close  sync.Once
}

// prepare logs in, and makes the directories of marks and rows where they are missing.
func (r *resource) prepare(ctx context.Context, t resources.Target) error {
	if t.Username != "" {
		if _, err := ask(ctx, func() (any, error) { return nil, r.zk.AddAuth("digest", []byte(t.Username+":"+t.Password)) }); err != nil {
			return err
		}
		r.acl = zk.AuthACL(zk.PermAll)
	}
	for _, dir := range []string{r.prefix + "/marks", r.prefix + "/rows"} {
		at := ""
		for _, name := range strings.Split(strings.TrimPrefix(dir, "/"), "/") {
			at += "/" + name
			_, err := ask(ctx, func() (any, error) {
				if there, _, err := r.zk.Exists(at); there || err != nil {
					return nil, err // who may write there need not be able to make it
				}
				return r.zk.Create(at, nil, zk.FlagPersistent, r.acl)
			})
			if err != nil && !errors.Is(err, zk.ErrNodeExists) {
				return fmt.Errorf("make %s: %w", at, err)
			}
		}
	}
	return nil
}

// ask makes one request; the library's know no context. One that is given up ends with the
// connection, and its answer is dropped.
func ask[T any](ctx context.Context, request func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answered := make(chan answer, 1)
	go func() {
		v, err := request()
		answered <- answer{v, err}
	}()
	select {
	case a := <-answered:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// row is a row as stored. Its Seq is the node's version, which ZooKeeper counts.
type row struct {
	Value string `json:"value"`
	Token string `json:"token"`
	OpID  string `json:"op_id,omitempty"`
}

// Names of nodes have no slash in them.
func (r *resource) markPath(name string) string {
	return r.prefix + "/marks/" + url.PathEscape(resources.Scope(name))
}
func (r *resource) rowPath(name string) string { return r.prefix + "/rows/" + url.PathEscape(name) }

// node is one that was read, as the condition of a later write.
type node struct {
	path    string
	there   bool
	data    []byte
	version int32
}

func (r *resource) get(ctx context.Context, path string) (node, error) {
	return ask(ctx, func() (node, error) {
		data, stat, err := r.zk.Get(path)
		if errors.Is(err, zk.ErrNoNode) {
			return node{path: path}, nil
		}
		if err != nil {
			return node{}, err
		}
		return node{path, true, data, stat.Version}, nil
	})
}

// put is the operation that writes a node if it is as it was read.
func (r *resource) put(n node, data []byte) any {
	if n.there {
		return &zk.SetDataRequest{Path: n.path, Data: data, Version: n.version}
	}
	return &zk.CreateRequest{Path: n.path, Data: data, Acl: r.acl}
}

// maxConflicts bounds the attempts of one write. Every conflict is another write that got
// through, or one of a server that lags behind.
const maxConflicts = 100

var errConflict = errors.New("too many conflicting writes")

// Write implements resources.Resource. An attempt that conflicted changed nothing and is
// repeated; one whose outcome is unknown is not.
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
		seq, done, err := r.attempt(ctx, e.Row, token, stored)
		if err != nil {
			return 0, fmt.Errorf("write %s: %w", e.Row, definite(err))
		}
		if done {
			return seq, nil
		}
	}
	return 0, fmt.Errorf("write %s: %w: %w", e.Row, errConflict, resources.ErrRefused)
}

func (r *resource) attempt(ctx context.Context, name, token string, stored []byte) (seq uint64, done bool, err error) {
	mark, err := r.get(ctx, r.markPath(name))
	if err != nil {
		return 0, false, err
	}
	// What was read may be older than what the leader has, and never newer: a token below
	// it is stale in any case, and one that is only above the older mark fails in the multi.
	if mark.there && resources.Below(token, string(mark.data)) {
		return 0, false, fmt.Errorf("%w: token %s is below %s", resources.ErrStale, token, mark.data)
	}
	old, err := r.get(ctx, r.rowPath(name))
	if err != nil {
		return 0, false, err
	}
	_, err = ask(ctx, func() (any, error) { return r.zk.Multi(r.put(mark, []byte(token)), r.put(old, stored)) })
	switch {
	case errors.Is(err, zk.ErrBadVersion), errors.Is(err, zk.ErrNodeExists), errors.Is(err, zk.ErrNoNode):
		_, err := ask(ctx, func() (string, error) { return r.zk.Sync(r.prefix) }) // so that the next look sees why
		return 0, false, err
	case err != nil:
		return 0, false, err
	case !old.there:
		return 1, true, nil
	}
	return uint64(old.version) + 2, true, nil
}

// definite marks an error by which the server has refused a request.
func definite(err error) error {
	for _, refusal := range []error{zk.ErrNoAuth, zk.ErrInvalidPath, zk.ErrInvalidACL, zk.ErrBadArguments} {
		if errors.Is(err, refusal) {
			return fmt.Errorf("%w: %w", resources.ErrRefused, err)
		}
	}
	return err
}

// Read implements resources.Resource, as the leader has the row now.
func (r *resource) Read(ctx context.Context, name string) (resources.Value, error) {
	path := r.rowPath(name)
	if _, err := ask(ctx, func() (string, error) { return r.zk.Sync(path) }); err != nil && !errors.Is(err, zk.ErrNoNode) {
		return resources.Value{}, fmt.Errorf("read %s: %w", name, err)
	}
	got, err := r.get(ctx, path)
	if err != nil {
		return resources.Value{}, fmt.Errorf("read %s: %w", name, err)
	}
	if !got.there {
		return resources.Value{}, nil
	}
	var stored row
	if err := json.Unmarshal(got.data, &stored); err != nil {
		return resources.Value{}, fmt.Errorf("read %s: decode: %w", name, err)
	}
	return resources.Value{Value: stored.Value, Token: stored.Token, Seq: uint64(got.version) + 1}, nil
}

// Close implements resources.Resource.
func (r *resource) Close() error {
	r.close.Do(r.zk.Close)
	return nil
}
