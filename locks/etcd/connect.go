package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/lockaudit/lockaudit/locks"
)

const (
	// reachLimit is how long an endpoint may take to answer its first request.
	reachLimit = 3 * time.Second
	// reconnectMost bounds the pause between two attempts to reconnect. grpc's own
	// default of 120 s would make a restarted server look dead for two minutes.
	reconnectMost = time.Second
)

// connect opens a client and makes sure that at least one endpoint answers and
// that credentials, if there are any, are right. Opening alone sends nothing.
func connect(ctx context.Context, t locks.Target) (*clientv3.Client, error) {
	config, err := configure(t)
	if err != nil {
		return nil, err
	}
	client, err := clientv3.New(config)
	if err != nil {
		return nil, fmt.Errorf("connect to etcd: %w", err)
	}
	if err := reach(ctx, client); err != nil {
		if why := reason(ctx, config); why != nil {
			err = fmt.Errorf("%w: %w", err, why)
		}
		return nil, errors.Join(err, client.Close())
	}
	return client, nil
}

func configure(t locks.Target) (clientv3.Config, error) {
	config := clientv3.Config{
		DialTimeout:          reachLimit,
		DialKeepAliveTime:    10 * time.Second, // grpc's least
		DialKeepAliveTimeout: 3 * time.Second,
		Username:             t.Username,
		Password:             t.Password,
		Logger:               zap.NewNop(), // stdout belongs to the client protocol
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectMost},
			MinConnectTimeout: reachLimit,
		})},
	}
	secure := t.TLS != nil
	for _, e := range t.Endpoints {
		e, https, err := endpoint(e, t.TLS != nil)
		if err != nil {
			return config, err
		}
		secure = secure || https
		config.Endpoints = append(config.Endpoints, e)
	}
	if len(config.Endpoints) == 0 {
		return config, fmt.Errorf("connect to etcd: no endpoints: %w", locks.ErrRefused)
	}
	if secure {
		for _, e := range config.Endpoints {
			if strings.HasPrefix(e, "http://") {
				return config, fmt.Errorf("connect to etcd: endpoint %s is plain while others use TLS: %w", e, locks.ErrRefused)
			}
		}
		config.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if t.TLS != nil {
		var err error
		if config.TLS, err = t.TLS.Config(); err != nil {
			return config, fmt.Errorf("connect to etcd: %w", err)
		}
	}
	return config, nil
}

// endpoint accepts host:port, http://host:port and https://host:port, and gives
// the form that says which of the two it is.
func endpoint(e string, secure bool) (normal string, https bool, err error) {
	if !strings.Contains(e, "://") {
		scheme := "http://"
		if secure {
			scheme = "https://"
		}
		e = scheme + e
	}
	u, err := url.Parse(e)
	if err != nil || u.Port() == "" || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", false, fmt.Errorf("connect to etcd: endpoint %q is not host:port, http://host:port or https://host:port: %w", e, locks.ErrRefused)
	}
	return u.Scheme + "://" + u.Host, u.Scheme == "https", nil
}

// reach asks all endpoints at once and is content with one that answers.
func reach(ctx context.Context, client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	answers := make(chan error, len(client.Endpoints()))
	var asked sync.WaitGroup
	for _, e := range client.Endpoints() {
		asked.Go(func() {
			_, err := client.Status(ctx, e)
			if err != nil {
				err = fmt.Errorf("reach %s: %w", e, err)
			}
			answers <- err
		})
	}
	defer asked.Wait()
	defer cancel() // before the wait: the slow ones are not needed any more
	var errs []error
	for range client.Endpoints() {
		err := <-answers
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("connect to etcd: no endpoint answers: %w", errors.Join(errs...))
}
