package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/locks"
)

// topology finds out which servers hold the keys: the one that was named, its
// primary if it is a replica, or all primaries of its cluster.
func (l *look) topology(ctx context.Context) error {
	rdb, err := connect(ctx, l.target, options{})
	if err != nil {
		return err
	}
	l.masters = []*redis.Client{rdb}
	l.found.Endpoints = []string{l.target.Endpoints[0]}
	fields, err := readInfo(ctx, rdb)
	var denied *locks.Denied
	switch {
	case errors.As(err, &denied):
		l.found.Topology = "unknown"
		l.note("replicas and role could not be read: %v", err)
		return nil
	case err != nil:
		return fmt.Errorf("read topology: INFO: %w", err)
	case fields["redis_mode"] == "sentinel":
		return errSentinel
	case fields["redis_mode"] == "cluster":
		return l.cluster(ctx, rdb)
	case fields["role"] == "slave":
		return l.primaryOf(ctx, rdb, fields)
	}
	l.replicas(fields)
	return nil
}

// errSentinel: a sentinel has no keys.
var errSentinel = errors.New("read topology: this is a Sentinel, which holds no locks")

// primaryOf goes from a replica to where locks are taken.
func (l *look) primaryOf(ctx context.Context, replica *redis.Client, fields map[string]string) error {
	address := net.JoinHostPort(fields["master_host"], fields["master_port"])
	l.options.Progress("this is a replica; go to its primary "+address, time.Time{})
	primary, err := l.at(ctx, address)
	if err != nil {
		return fmt.Errorf("%s is a replica, and locks are taken at its primary %s: %w", replica.Options().Addr, address, err)
	}
	l.masters = append(l.masters, primary)[1:]
	_ = replica.Close()
	if fields, err = readInfo(ctx, primary); err != nil {
		return fmt.Errorf("read topology of %s: INFO: %w", address, err)
	}
	l.note("%s is a replica; the plan names its primary %s", l.target.Endpoints[0], address)
	l.found.Endpoints = []string{likeEndpoint(l.target, address)}
	l.replicas(fields)
	return nil
}

// replicas are in INFO as slave0:ip=10.0.0.2,port=6379,state=online,…
func (l *look) replicas(fields map[string]string) {
	for i := 0; ; i++ {
		line, ok := fields[fmt.Sprintf("slave%d", i)]
		if !ok {
			break
		}
		of := map[string]string{}
		for pair := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(pair, "=")
			of[name] = value
		}
		m := facts.Member{Endpoint: net.JoinHostPort(of["ip"], of["port"]), Role: "replica"}
		if of["state"] != "online" {
			m.Err = "state " + of["state"]
		}
		l.found.Others = append(l.found.Others, m)
	}
	l.found.Topology = "one server without replicas"
	if n := len(l.found.Others); n > 0 {
		l.found.Topology = fmt.Sprintf("a primary with %d asynchronous %s", n, plural(n, "replica"))
	}
	l.emptyDatabase(fields)
}

// emptyDatabase: the lock client uses database 0.
func (l *look) emptyDatabase(fields map[string]string) {
	if _, ok := fields["db0"]; ok {
		return
	}
	var others []string
	for name := range fields {
		if strings.HasPrefix(name, "db") && strings.Contains(fields[name], "keys=") {
			others = append(others, name)
		}
	}
	if len(others) > 0 {
		slices.Sort(others)
		l.note("database 0 is empty, and %s is not: the built-in lock client uses database 0 only", strings.Join(others, ", "))
	}
}

func plural(n int, thing string) string {
	if n == 1 {
		return thing
	}
	return thing + "s"
}

// cluster reads CLUSTER NODES: id ip:port@bus[,host] flags primary … slots.
func (l *look) cluster(ctx context.Context, rdb *redis.Client) error {
	text, err := Call(ctx, func() (string, error) { return rdb.ClusterNodes(ctx).Result() })
	if err != nil {
		return fmt.Errorf("read topology: CLUSTER NODES: %w", err)
	}
	self := rdb.Options().Addr
	primaries := 0
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 8 {
			continue
		}
		address, _, _ := strings.Cut(f[1], "@")
		flags := strings.Split(f[2], ",")
		switch {
		case slices.Contains(flags, "fail") || slices.Contains(flags, "noaddr"):
			l.found.Others = append(l.found.Others, facts.Member{ID: f[0], Endpoint: address, Role: "unknown", Err: f[2]})
			continue
		case !slices.Contains(flags, "master"):
			l.found.Others = append(l.found.Others, facts.Member{ID: f[0], Endpoint: address, Role: "replica"})
			continue
		}
		primaries++
		if slices.Contains(flags, "myself") {
			continue // it is connected already
		}
		m, err := l.at(ctx, address)
		if err != nil {
			l.note("the primary %s could not be looked at: %v", address, err)
			continue
		}
		l.masters = append(l.masters, m)
		l.found.Others = append(l.found.Others, facts.Member{ID: f[0], Endpoint: address, Role: "primary"})
	}
	l.found.Topology = fmt.Sprintf("a cluster of %d %s", primaries, plural(primaries, "primary"))
	if primaries > 1 {
		l.found.Topology = fmt.Sprintf("a cluster of %d primaries", primaries)
	}
	l.note("this is a Redis Cluster (asked at %s): the built-in lock client talks to one server and follows no redirects; name your own in clients.exec", self)
	return nil
}

// readInfo is INFO as a table.
func readInfo(ctx context.Context, rdb *redis.Client) (map[string]string, error) {
	text, err := Call(ctx, func() (string, error) { return rdb.Info(ctx).Result() })
	if err != nil {
		return nil, err
	}
	return infoFields(text), nil
}

func infoFields(text string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}
