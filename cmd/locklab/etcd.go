package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
)

// member is one member of an etcd cluster. The server is linked into this binary
// alone, so that the auditor and the agent stay small.
type member struct {
	name, ip string
	data     string // directory
	cluster  string // all members and their peer URLs: a=http://…,b=http://…
	// tls is a directory with ca.pem, server.pem and server-key.pem, or empty for
	// plain text. With it, clients and peers must show a certificate.
	tls string
}

// Timing of the cluster, in milliseconds: etcd's defaults. The smallest lease is
// ceil(1.5 × election) = 2 s.
const (
	heartbeat = 100
	election  = 1000
)

// run serves until ctx ends.
func (m member) run(ctx context.Context) error {
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = m.name, m.data
	cfg.TickMs, cfg.ElectionMs = heartbeat, election
	cfg.InitialCluster, cfg.ClusterState = m.cluster, embed.ClusterStateFlagNew
	cfg.LogLevel, cfg.LogOutputs = "info", []string{"stderr"}
	cfg.EnableGRPCGateway = false
	scheme := "http"
	if m.tls != "" {
		scheme = "https"
		info := transport.TLSInfo{
			CertFile:       filepath.Join(m.tls, "server.pem"),
			KeyFile:        filepath.Join(m.tls, "server-key.pem"),
			TrustedCAFile:  filepath.Join(m.tls, "ca.pem"),
			ClientCertAuth: true,
		}
		cfg.ClientTLSInfo, cfg.PeerTLSInfo = info, info
	}
	client := []url.URL{{Scheme: scheme, Host: m.ip + ":2379"}}
	peer := []url.URL{{Scheme: scheme, Host: m.ip + ":2380"}}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = client, client
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = peer, peer

	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	defer etcd.Close()
	select {
	case <-ctx.Done():
		return nil
	case err := <-etcd.Err():
		return fmt.Errorf("serve etcd: %w", err)
	case <-etcd.Server.StopNotify():
		return errors.New("serve etcd: the server stopped by itself")
	}
}
