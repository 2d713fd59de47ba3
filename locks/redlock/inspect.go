package redlock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/redis"
)

// Inspect implements locks.Driver. It asks each server what package redis asks its one,
// and only reads. Servers that do not answer are members with an error.
func (Driver) Inspect(ctx context.Context, t locks.Target) (facts.Deployment, error) {
	o, err := optionsOf(t)
	if err != nil {
		return facts.Deployment{}, err
	}
	if len(t.Endpoints) == 0 {
		return facts.Deployment{}, fmt.Errorf("inspect redlock: no endpoint: %w", locks.ErrRefused)
	}
	t.Options = nil
	found, errs := make([]facts.Deployment, len(t.Endpoints)), make([]error, len(t.Endpoints))
	var all sync.WaitGroup
	for i, e := range t.Endpoints {
		all.Go(func() { found[i], errs[i] = redis.Driver{}.Inspect(ctx, single(t, e)) })
	}
	all.Wait()
	if !slices.Contains(errs, nil) {
		return facts.Deployment{}, fmt.Errorf("inspect redlock: %w", errors.Join(errs...))
	}
	d := facts.Deployment{
		Backend: "redlock", WallClock: yes(true), OrderedTokens: yes(false), MinTTL: time.Millisecond,
		Quorum: len(t.Endpoints)/2 + 1, NodeTimeout: o.nodeTimeout(t.TTL),
	}
	for i, one := range found {
		if errs[i] != nil {
			d.Members = append(d.Members, facts.Member{Endpoint: t.Endpoints[i], Err: errs[i].Error()})
			d.Unknown = append(d.Unknown, fmt.Sprintf("%s: %v", t.Endpoints[i], errs[i]))
			continue
		}
		d.Members = append(d.Members, one.Members...)
		d.Replicas += one.Replicas
		d.Unknown = append(d.Unknown, at(t.Endpoints[i], one.Unknown)...)
		if d.Version == "" || older(one.Version, d.Version) {
			d.Version = one.Version
		}
	}
	answered := slices.DeleteFunc(slices.Clone(found), func(one facts.Deployment) bool { return one.Backend == "" })
	d.Durable = unanimous(answered, func(one facts.Deployment) *bool { return one.Durable })
	d.TLS = unanimous(answered, func(one facts.Deployment) *bool { return one.TLS })
	d.Auth = unanimous(answered, func(one facts.Deployment) *bool { return one.Auth })
	if kept := unanimous(answered, func(one facts.Deployment) *bool { return not(one.Evicts) }); kept != nil {
		d.Evicts = not(kept)
	}
	d.Voters = voters(d.Members)
	d.Settings = append(numbers(o, t, d), settings(answered)...)
	return d, nil
}

func yes(b bool) *bool { return &b }

func not(b *bool) *bool {
	if b == nil {
		return nil
	}
	return yes(!*b)
}

// unanimous is yes if all servers say yes, no if one of them says no, and otherwise unknown.
func unanimous(servers []facts.Deployment, of func(facts.Deployment) *bool) *bool {
	known := true
	for _, one := range servers {
		switch v := of(one); {
		case v == nil:
			known = false
		case !*v:
			return yes(false)
		}
	}
	if !known {
		return nil
	}
	return yes(true)
}

func at(endpoint string, lines []string) (out []string) {
	for _, line := range lines {
		out = append(out, endpoint+": "+line)
	}
	return out
}

// voters counts servers by their own identity; those that do not say it count, as they
// do for the clients. A replica takes no writes and grants nothing.
func voters(members []facts.Member) int {
	seen := map[string]bool{}
	for _, m := range members {
		id := m.ID
		if id == "" {
			id = m.Endpoint
		}
		if m.Role != "slave" {
			seen[id] = true
		}
	}
	return len(seen)
}

// numbers are what the quorum is made of, for the reader of the report: what makes it
// look larger than it is, too.
func numbers(o options, t locks.Target, d facts.Deployment) []facts.Setting {
	out := []facts.Setting{
		{Name: "quorum", Value: fmt.Sprintf("%d of %d", d.Quorum, len(t.Endpoints))},
		{Name: "node timeout", Value: d.NodeTimeout.String()},
		{Name: "drift factor", Value: strconv.FormatFloat(o.drift(), 'g', -1, 64)},
	}
	if len(t.Endpoints)%2 == 0 {
		out = append(out, facts.Setting{Name: "an even number of servers", Value: "one more than an odd number, and it bears no more losses"})
	}
	if d.Replicas > 0 {
		out = append(out, facts.Setting{Name: "replicas behind the servers", Value: fmt.Sprintf("%d: a replica that is promoted has not heard of the latest locks, as a server that was restarted without them", d.Replicas)})
	}
	ids, hosts := map[string][]string{}, map[string][]string{}
	for _, m := range d.Members {
		if m.ID != "" {
			ids[m.ID] = append(ids[m.ID], m.Endpoint)
		}
		if host, _, err := net.SplitHostPort(bare(m.Endpoint)); err == nil {
			hosts[host] = append(hosts[host], m.Endpoint)
		}
		if m.Role == "slave" {
			out = append(out, facts.Setting{Name: "a replica that is asked for locks", Value: m.Endpoint + ": it takes no writes"})
		}
	}
	return append(append(out, shared("one server with several endpoints", ids)...), shared("servers on one machine", hosts)...)
}

func shared(what string, by map[string][]string) (out []facts.Setting) {
	for _, list := range by {
		if len(list) > 1 {
			slices.Sort(list)
			out = append(out, facts.Setting{Name: what, Value: strings.Join(list, ", ")})
		}
	}
	slices.SortFunc(out, func(x, y facts.Setting) int { return strings.Compare(x.Value, y.Value) })
	return out
}

func bare(endpoint string) string {
	if _, rest, ok := strings.Cut(endpoint, "://"); ok {
		return rest
	}
	return endpoint
}

// settings are what all servers say alike, once, and the rest by server.
func settings(servers []facts.Deployment) (out []facts.Setting) {
	alike := map[facts.Setting]int{}
	for _, one := range servers {
		for _, s := range one.Settings {
			alike[s]++
		}
	}
	told := map[facts.Setting]bool{}
	for _, one := range servers {
		for _, s := range one.Settings {
			if alike[s] < len(servers) {
				out = append(out, facts.Setting{Name: s.Name + " at " + one.Members[0].Endpoint, Value: s.Value})
			} else if !told[s] {
				told[s] = true
				out = append(out, s)
			}
		}
	}
	return out
}

// older compares versions as 7.0.15.
func older(x, y string) bool {
	return slices.CompareFunc(strings.Split(x, "."), strings.Split(y, "."), func(a, b string) int {
		m, _ := strconv.Atoi(a)
		n, _ := strconv.Atoi(b)
		return m - n
	}) < 0
}
