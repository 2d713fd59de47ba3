package redis

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/locks"
)

// settings that the facts rest on, or that a reader of the report wants to see.
var settings = []string{
	"appendonly", "appendfsync", "save", "maxmemory", "maxmemory-policy",
	"min-replicas-to-write", "min-replicas-max-lag",
}

// Inspect implements locks.Driver. It only reads.
func (Driver) Inspect(ctx context.Context, t locks.Target) (facts.Deployment, error) {
	o, err := optionsOf(t)
	if err != nil {
		return facts.Deployment{}, err
	}
	counter, err := o.counterName()
	if err != nil {
		return facts.Deployment{}, err
	}
	d := facts.Deployment{
		Backend:       "redis",
		WallClock:     yes(true), // a key's expiry is an absolute time of the server
		OrderedTokens: yes(counter != nil),
		MinTTL:        time.Millisecond, // PX
	}
	if o.Sentinel != "" {
		if t, err = throughSentinels(ctx, t, o, &d); err != nil {
			return facts.Deployment{}, err
		}
	}
	rdb, err := connect(ctx, t, options{})
	if err != nil && o.Sentinel == "" {
		return facts.Deployment{}, err
	}
	m := facts.Member{Endpoint: t.Endpoints[0]}
	if err != nil { // in the middle of a failover: the master is gone, the Sentinels are not
		m.Err = err.Error()
		d.Members = append([]facts.Member{m}, d.Members...)
		unknown(&d, "the master", err)
		return d, nil
	}
	defer rdb.Close()
	d.TLS = yes(rdb.Options().TLSConfig != nil)
	info(ctx, rdb, &m, &d)
	clock(ctx, rdb, &m, &d)
	d.Members = append([]facts.Member{m}, d.Members...)
	config(ctx, rdb, &d)
	d.Auth = auth(ctx, t, &d)
	return d, nil
}

// throughSentinels is the target with the master for its only endpoint.
func throughSentinels(ctx context.Context, t locks.Target, o options, d *facts.Deployment) (locks.Target, error) {
	master := sentinels(ctx, t, o, d)
	if master == "" {
		return t, noMaster(o, *d)
	}
	return single(t, likeEndpoint(t, master)), nil
}

// noMaster: no Sentinel named one, for the reasons that are in the facts.
func noMaster(o options, d facts.Deployment) error {
	return fmt.Errorf("ask the Sentinels for the master %s: %s", o.Sentinel, strings.Join(d.Unknown, "; "))
}

// likeEndpoint gives an address the scheme of the target's.
func likeEndpoint(t locks.Target, address string) string {
	if scheme, _, ok := strings.Cut(t.Endpoints[0], "://"); ok {
		return scheme + "://" + address
	}
	return address
}

func yes(b bool) *bool { return &b }

func unknown(d *facts.Deployment, what string, err error) {
	d.Unknown = append(d.Unknown, fmt.Sprintf("%s: %v", what, err))
}

func info(ctx context.Context, rdb *redis.Client, m *facts.Member, d *facts.Deployment) {
	fields, err := readInfo(ctx, rdb)
	if err != nil {
		m.Err = err.Error()
		unknown(d, "INFO", err)
		return
	}
	m.ID, m.Role, m.Version = fields["run_id"], fields["role"], fields["redis_version"]
	d.Version = m.Version
	if n, err := strconv.Atoi(fields["connected_slaves"]); err == nil {
		d.Replicas = n
	}
	for _, name := range []string{"role", "connected_slaves", "aof_enabled", "evicted_keys", "redis_mode", "master_replid"} {
		if value, ok := fields[name]; ok {
			d.Settings = append(d.Settings, facts.Setting{Name: name, Value: value})
		}
	}
}

// clock compares the server's wall clock with ours, at the middle of the request.
func clock(ctx context.Context, rdb *redis.Client, m *facts.Member, d *facts.Deployment) {
	before := time.Now()
	server, err := Call(ctx, func() (time.Time, error) { return rdb.Time(ctx).Result() })
	if err != nil {
		unknown(d, "TIME", err)
		return
	}
	half := time.Since(before) / 2
	skew := server.Sub(before.Add(half).Round(0)) // Round(0): compare wall clocks
	m.Clock, m.ClockError = &skew, half
}

// config reads what the server keeps and for how long. Many managed services
// forbid CONFIG, and then nothing is known.
func config(ctx context.Context, rdb *redis.Client, d *facts.Deployment) {
	values := map[string]string{}
	for _, name := range settings {
		found, err := Call(ctx, func() (map[string]string, error) { return rdb.ConfigGet(ctx, name).Result() })
		if err != nil {
			unknown(d, "CONFIG GET "+name, err)
			continue
		}
		if value, ok := found[name]; ok {
			values[name] = value
			d.Settings = append(d.Settings, facts.Setting{Name: name, Value: value})
		}
	}
	if has(values, "appendonly", "appendfsync") {
		d.Durable = yes(values["appendonly"] == "yes" && values["appendfsync"] == "always")
	}
	if has(values, "maxmemory", "maxmemory-policy") {
		d.Evicts = yes(values["maxmemory"] != "0" && values["maxmemory-policy"] != "noeviction")
	}
}

func has(values map[string]string, names ...string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { _, ok := values[n]; return !ok })
}

// auth tries a command without credentials.
func auth(ctx context.Context, t locks.Target, d *facts.Deployment) *bool {
	t.Username, t.Password = "", ""
	options, err := configure(t)
	if err != nil {
		unknown(d, "authentication", err)
		return nil
	}
	rdb := redis.NewClient(options)
	defer rdb.Close()
	_, err = Call(ctx, func() (string, error) { return rdb.Ping(ctx).Result() })
	switch {
	case err == nil:
		return yes(false)
	case redis.HasErrorPrefix(err, "NOAUTH"):
		return yes(true)
	}
	unknown(d, "authentication", err)
	return nil
}
