package nats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/locks"
)

// Inspect implements locks.Driver. It only reads, and asks every endpoint for itself.
func (Driver) Inspect(ctx context.Context, t locks.Target) (facts.Deployment, error) {
	o, err := optionsOf(t)
	if err != nil {
		return facts.Deployment{}, err
	}
	d := facts.Deployment{
		Backend:       "nats",
		OrderedTokens: yes(true), // sequence numbers of the bucket's stream
		WallClock:     yes(true), // messages are stamped and aged by it
	}
	var bucket *jetstream.StreamInfo
	var failed error
	read := 0
	for _, e := range t.Endpoints {
		m, info, err := look(ctx, t, o, e, &d)
		if err != nil {
			m.Err, failed = err.Error(), errors.Join(failed, err)
		} else {
			read++
		}
		if info != nil {
			bucket = info
		}
		d.Members = append(d.Members, m)
	}
	if read == 0 {
		return facts.Deployment{}, failed
	}
	if bucket == nil {
		d.Unknown = append(d.Unknown, fmt.Sprintf("bucket %s: no server has it", o.Bucket))
		return d, nil
	}
	describe(&d, bucket)
	return d, nil
}

func yes(b bool) *bool { return &b }

// look reads one server, and the bucket by way of it.
func look(ctx context.Context, t locks.Target, o options, endpoint string, d *facts.Deployment) (facts.Member, *jetstream.StreamInfo, error) {
	m := facts.Member{Endpoint: endpoint}
	t.Endpoints = []string{endpoint}
	nc, err := connect(ctx, t, o)
	if err != nil {
		return m, nil, err
	}
	defer nc.Close()
	m.Name, m.ID, m.Version = nc.ConnectedServerName(), nc.ConnectedServerId(), nc.ConnectedServerVersion()
	if d.Version == "" || m.Version < d.Version {
		d.Version = m.Version
	}
	_, err = nc.TLSConnectionState()
	d.TLS = both(d.TLS, err == nil)
	d.Auth = both(d.Auth, nc.AuthRequired())
	ctx, cancel := bounded(ctx)
	defer cancel()
	c := &client{nc: nc, bucket: o.Bucket}
	before := time.Now()
	info, err := c.info(ctx)
	if err != nil {
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			d.Unknown = append(d.Unknown, fmt.Sprintf("bucket %s by way of %s: %v", o.Bucket, endpoint, explain(err)))
		}
		return m, nil, nil
	}
	if info.Cluster == nil || info.Cluster.Leader == m.Name {
		// Both sides of the request are at hand, so the leader's clock can be compared.
		took := time.Since(before)
		offset := info.TimeStamp.Sub(before.Add(took / 2))
		m.Clock, m.ClockError = &offset, took/2
	}
	return m, info, nil
}

// both is yes once every server said so.
func both(so *bool, this bool) *bool { return yes((so == nil || *so) && this) }

// describe judges nothing: it says what the bucket is made of.
func describe(d *facts.Deployment, info *jetstream.StreamInfo) {
	c := info.Config
	d.MinTTL = c.MaxAge
	if c.Replicas > 1 {
		d.Consensus, d.Voters = "raft", c.Replicas
	} else {
		d.Voters = 1
	}
	d.Evicts = yes(c.Discard == jetstream.DiscardOld && (c.MaxBytes > 0 || c.MaxMsgs > 0))
	if c.Storage == jetstream.MemoryStorage {
		d.Durable = yes(false)
	} else {
		d.Unknown = append(d.Unknown, "whether a write is on disk before it is answered: NATS syncs every two minutes unless the server's jetstream.sync_interval is always, and no client can read that")
	}
	d.Settings = append(d.Settings,
		facts.Setting{Name: "bucket replicas", Value: strconv.Itoa(c.Replicas)},
		facts.Setting{Name: "bucket storage", Value: c.Storage.String()},
		facts.Setting{Name: "bucket TTL", Value: c.MaxAge.String()},
		facts.Setting{Name: "bucket discard", Value: c.Discard.String()},
		facts.Setting{Name: "bucket max bytes", Value: strconv.FormatInt(c.MaxBytes, 10)},
	)
	if info.Cluster == nil {
		return
	}
	roles := map[string]string{info.Cluster.Leader: "leader"}
	for _, r := range info.Cluster.Replicas {
		roles[r.Name] = "follower"
		if r.Offline || !r.Current {
			d.Unknown = append(d.Unknown, fmt.Sprintf("copy of the bucket on %s: it is behind or not there (%d operations, last seen %v ago)", r.Name, r.Lag, r.Active.Round(time.Millisecond)))
		}
	}
	for i, m := range d.Members {
		d.Members[i].Role = roles[m.Name]
	}
}
