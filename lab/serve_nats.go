package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Ports of NATS' own, for clients and for the other servers.
const (
	natsPort  = 4222
	natsPeers = 6222
)

// locksBucket is where the lab's locks are, the driver's default.
const locksBucket = "locks"

// NATSServer is one server of a JetStream cluster.
type NATSServer struct {
	Name, IP string
	Data     string // directory
	Peers    string // addresses of all servers, with commas
	// TTL of the bucket of locks, which this server makes; 0: another one does.
	TTL time.Duration
}

// Serve runs it until ctx ends.
func (n NATSServer) Serve(ctx context.Context) error {
	o := &natsserver.Options{
		ServerName: n.Name, Host: n.IP, Port: natsPort, NoSigs: true,
		JetStream: true, StoreDir: n.Data, JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 256 << 20,
		Cluster: natsserver.ClusterOpts{Name: "lab", Host: n.IP, Port: natsPeers},
	}
	peers := strings.Split(n.Peers, ",")
	for _, p := range peers {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("%s:%d", p, natsPeers)})
	}
	s, err := natsserver.NewServer(o)
	if err != nil {
		return fmt.Errorf("start nats: %w", err)
	}
	s.ConfigureLogger()
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if n.TTL > 0 {
		if err := n.makeBucket(ctx, len(peers)); err != nil && ctx.Err() == nil {
			return fmt.Errorf("make bucket: %w", err)
		}
	}
	<-ctx.Done()
	return nil
}

// makeBucket makes the bucket of locks once the servers have found each other.
func (n NATSServer) makeBucket(ctx context.Context, copies int) error {
	nc, err := nats.Connect(fmt.Sprintf("nats://%s:%d", n.IP, natsPort), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(pollInterval))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	for {
		trying, cancel := context.WithTimeout(ctx, checkTimeout)
		_, err := js.CreateKeyValue(trying, jetstream.KeyValueConfig{
			Bucket: locksBucket, Description: "locks", TTL: n.TTL, Replicas: copies, Storage: jetstream.FileStorage, History: 1,
		})
		cancel()
		if err == nil || errors.Is(err, jetstream.ErrBucketExists) {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pollInterval): // there is no leader yet
		}
	}
}

// bucket looks for the locks by way of one server.
func (p *prober) bucket(ctx context.Context, n Node) error {
	nc, err := nats.Connect(fmt.Sprintf("nats://%s:%d", n.IP, natsPort), nats.NoReconnect(), nats.SetCustomDialer(dialer{ctx, p}))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	_, err = js.KeyValue(ctx, locksBucket)
	return err
}

// dialer dials from the prober's place.
type dialer struct {
	ctx context.Context
	p   *prober
}

// Dial implements nats.CustomDialer.
func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.p.dial(d.ctx, network, address)
}
