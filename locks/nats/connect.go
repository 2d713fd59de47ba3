package nats

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lockaudit/lockaudit/locks"
)

const (
	// reachLimit is how long a server may take to answer at first.
	reachLimit = 3 * time.Second
	// answerLimit bounds one request, if the caller's context does not.
	answerLimit = 5 * time.Second
	// reconnectWait is the pause between two attempts to reconnect; the library's 2 s
	// would make a server look dead that has started again.
	reconnectWait = 200 * time.Millisecond
)

// connect makes sure that a server answers, and that credentials, if there are any, are
// right.
func connect(ctx context.Context, t locks.Target, o options) (*nats.Conn, error) {
	urls, err := urlsOf(t)
	if err != nil {
		return nil, err
	}
	opts := []nats.Option{
		nats.Name("lockaudit"), nats.Timeout(reachLimit), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait),
		// A request that cannot be sent now is not kept and sent later, when nobody waits
		// for it any more.
		nats.ReconnectBufSize(-1),
		nats.SetCustomDialer(dialer{ctx}),
	}
	if t.Username != "" || t.Password != "" {
		opts = append(opts, nats.UserInfo(t.Username, t.Password))
	}
	if o.Creds != "" {
		opts = append(opts, nats.UserCredentials(o.Creds))
	}
	if t.TLS != nil {
		config, err := t.TLS.Config()
		if err != nil {
			return nil, fmt.Errorf("connect to nats: %w", err)
		}
		opts = append(opts, nats.Secure(config))
	}
	nc, err := nats.Connect(strings.Join(urls, ","), opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to nats: %w", explain(err))
	}
	return nc, nil
}

// urlsOf accepts host:port, nats://host:port and tls://host:port.
func urlsOf(t locks.Target) ([]string, error) {
	var out []string
	for _, e := range t.Endpoints {
		if !strings.Contains(e, "://") {
			e = "nats://" + e
		}
		u, err := url.Parse(e)
		if err != nil || u.Hostname() == "" || u.Port() == "" || u.User != nil || (u.Scheme != "nats" && u.Scheme != "tls") {
			return nil, fmt.Errorf("connect to nats: endpoint %q is not host:port, nats://host:port or tls://host:port: %w", e, locks.ErrRefused)
		}
		out = append(out, u.Scheme+"://"+u.Host)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("connect to nats: no endpoints: %w", locks.ErrRefused)
	}
	return out, nil
}

// explain adds what the library's words leave open.
func explain(err error) error {
	switch {
	case errors.Is(err, nats.ErrSecureConnWanted):
		return fmt.Errorf("%w: the server speaks no TLS", err)
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w: JetStream is off, or has no leader", err)
	}
	return err
}

// openBucket finds the bucket, or makes it where that is allowed, and says how long its
// keys live.
func openBucket(ctx context.Context, nc *nats.Conn, t locks.Target, o options) (jetstream.KeyValue, time.Duration, error) {
	fail := func(err error) (jetstream.KeyValue, time.Duration, error) {
		return nil, 0, fmt.Errorf("open bucket %s: %w", o.Bucket, explain(err))
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(ctx, reachLimit+answerLimit) // a new stream needs an election
	defer cancel()
	kv, err := js.KeyValue(ctx, o.Bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) && o.Create {
		if t.TTL <= 0 {
			return fail(fmt.Errorf("to create it the lock's ttl must be set: %w", locks.ErrRefused))
		}
		kv, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: o.Bucket, Description: "locks", TTL: t.TTL, Replicas: o.Replicas, Storage: jetstream.FileStorage, History: 1,
		})
	}
	if err != nil {
		return fail(err)
	}
	status, err := kv.Status(ctx)
	if err != nil {
		return fail(err)
	}
	if status.TTL() <= 0 {
		return fail(fmt.Errorf("it has no TTL: the lock of a holder that crashed would never end: %w", locks.ErrRefused))
	}
	return kv, status.TTL(), nil
}
