package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// checkTimeout bounds one health check of one server. etcd's own takes until a
// leader answers.
const checkTimeout = 2 * time.Second

// prober asks servers how they are, from a client's place in the network.
type prober struct {
	from *os.File // network namespace
	tls  *tls.Config
}

// newProber reads the client's certificates if the lab has any.
func newProber(l Lab, from *os.File) (*prober, error) {
	p := &prober{from: from}
	if !l.TLS {
		return p, nil
	}
	ca, err := os.ReadFile(filepath.Join(tlsDir, caFile))
	if err != nil {
		return nil, fmt.Errorf("read authority: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(tlsDir, clientCertFile), filepath.Join(tlsDir, clientKeyFile))
	if err != nil {
		return nil, fmt.Errorf("read client certificate: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	p.tls = &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	return p, nil
}

// check returns nil if the server does its work.
func (p *prober) check(ctx context.Context, l Lab, s server) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var err error
	switch s.kind {
	case kindLedger:
		err = p.get(ctx, "http://"+s.node.IP+":8080/healthz")
	case kindApp:
		err = p.get(ctx, fmt.Sprintf("http://%s:%d/healthz", s.node.IP, appPort))
	case kindPostgres:
		err = p.login(ctx, s.node)
	case kindNATS:
		err = p.bucket(ctx, s.node)
	case kindZooKeeper:
		err = p.zookeeper(ctx, s.node)
	case kindRedis, kindSentinel:
		err = p.redis(ctx, l, s)
	default:
		// etcd answers 200 only if a linearizable read works on this member.
		err = p.get(ctx, l.endpoint(s.node)+"/health")
	}
	if err != nil {
		return fmt.Errorf("check %s: %w", s.name, err)
	}
	return nil
}

func (p *prober) get(ctx context.Context, url string) error {
	transport := &http.Transport{DialContext: p.dial, TLSClientConfig: p.tls, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	return nil
}

// login connects as the application does.
func (p *prober) login(ctx context.Context, n Node) error {
	config, err := pgconn.ParseConfig("host=localhost sslmode=disable user=nobody password=none")
	if err != nil {
		return fmt.Errorf("read environment: %w", err)
	}
	config.Host, config.Port, config.Fallbacks, config.ValidateConnect = n.IP, postgresPort, nil, nil
	config.User, config.Password, config.Database = postgresUser, postgresPassword, postgresUser
	config.RuntimeParams, config.DialFunc = nil, p.dial
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func (p *prober) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = inNamespace(p.from, func() error {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}
