package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/locks"
)

// opinion is what one Sentinel says. They need not agree: one that was cut off during a
// failover names the old master until it hears of the new one.
type opinion struct {
	endpoint string
	id       string // its own run id
	master   string // host:port
	// epoch of its configuration: the highest is the one that was agreed on last.
	epoch    int
	fields   map[string]string
	replicas []facts.Member
	ckquorum string
	tilt     string
}

// sentinels reads what each Sentinel says and returns where the master is, as the newest
// configuration has it. The replicas that it knows become members; so do Sentinels that
// do not answer, or have not heard of it.
func sentinels(ctx context.Context, t locks.Target, o options, d *facts.Deployment) (master string) {
	var all []opinion
	var silent []facts.Member
	for _, e := range t.Endpoints {
		said, err := ask(ctx, t, o, e, d)
		if err != nil {
			unknown(d, "Sentinel "+e, err)
			silent = append(silent, facts.Member{Endpoint: e, Role: "sentinel", Err: err.Error()})
			continue
		}
		all = append(all, said)
	}
	d.Settings = append(d.Settings, facts.Setting{Name: "Sentinels that answer", Value: fmt.Sprintf("%d of %d", len(all), len(t.Endpoints))})
	if len(all) == 0 {
		d.Members = append(d.Members, silent...)
		return ""
	}
	newest := slices.MaxFunc(all, func(a, b opinion) int { return a.epoch - b.epoch })
	newest.describe(d)
	for _, said := range all {
		note := func(name, value string) {
			d.Settings = append(d.Settings, facts.Setting{Name: name + " at Sentinel " + said.endpoint, Value: value})
		}
		note("ckquorum", said.ckquorum)
		note("tilt", said.tilt)
		if said.master != newest.master {
			note("another master", said.master)
			silent = append(silent, facts.Member{Endpoint: said.endpoint, Role: "sentinel", Err: "its master is " + said.master})
		}
	}
	d.Members = append(append(d.Members, newest.replicas...), silent...)
	sharedFate(d, all, newest)
	return newest.master
}

// sharedFate names what a quorum hides: two endpoints that are one Sentinel, and
// Sentinels or servers that die with one machine.
func sharedFate(d *facts.Deployment, all []opinion, newest opinion) {
	ids, hosts := map[string][]string{}, map[string][]string{}
	for _, said := range all {
		host, _, _ := net.SplitHostPort(said.endpoint)
		hosts[host] = append(hosts[host], said.endpoint)
		if said.id != "" {
			ids[said.id] = append(ids[said.id], said.endpoint)
		}
	}
	servers := map[string][]string{}
	for _, e := range append([]string{newest.master}, endpoints(newest.replicas)...) {
		host, _, _ := net.SplitHostPort(e)
		servers[host] = append(servers[host], e)
	}
	for _, one := range []struct {
		what string
		by   map[string][]string
	}{{"one Sentinel with several endpoints", ids}, {"Sentinels on one machine", hosts}, {"Redis servers on one machine", servers}} {
		for _, list := range one.by {
			if len(list) > 1 {
				slices.Sort(list)
				d.Settings = append(d.Settings, facts.Setting{Name: one.what, Value: strings.Join(list, ", ")})
			}
		}
	}
}

func endpoints(members []facts.Member) []string {
	var out []string
	for _, m := range members {
		out = append(out, m.Endpoint)
	}
	return out
}

// shown are the fields of SENTINEL MASTER that a reader of the report wants to see.
var shown = []string{"quorum", "num-slaves", "num-other-sentinels", "down-after-milliseconds", "failover-timeout", "config-epoch", "flags"}

func (said opinion) describe(d *facts.Deployment) {
	for _, name := range shown {
		if value, ok := said.fields[name]; ok {
			d.Settings = append(d.Settings, facts.Setting{Name: "sentinel " + name, Value: value})
		}
	}
}

// ask asks one Sentinel everything. What it may not say is unknown, and only without the
// master there is nothing to go on from.
func ask(ctx context.Context, t locks.Target, o options, endpoint string, d *facts.Deployment) (said opinion, err error) {
	c, err := sentinelAt(t, o, endpoint)
	if err != nil {
		return said, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	said.endpoint = endpoint
	said.fields, err = Call(ctx, func() (map[string]string, error) { return c.Master(ctx, o.Sentinel).Result() })
	if err != nil {
		return said, err
	}
	said.master = net.JoinHostPort(said.fields["ip"], said.fields["port"])
	said.epoch, _ = strconv.Atoi(said.fields["config-epoch"]) // missing: older than any other
	switch quorum, err := Call(ctx, func() (string, error) { return c.CkQuorum(ctx, o.Sentinel).Result() }); {
	case err == nil:
		said.ckquorum = quorum
	case redis.HasErrorPrefix(err, "NOQUORUM"): // an error of the protocol, and an answer
		said.ckquorum = strings.TrimPrefix(err.Error(), locks.ErrRefused.Error()+": ")
	default:
		unknown(d, "SENTINEL CKQUORUM at "+endpoint, err)
	}
	said.about(ctx, c, d)
	replicas, err := Call(ctx, func() ([]map[string]string, error) { return c.Replicas(ctx, o.Sentinel).Result() })
	if err != nil {
		unknown(d, "SENTINEL REPLICAS at "+endpoint, err)
	}
	for _, r := range replicas {
		member := facts.Member{Endpoint: net.JoinHostPort(r["ip"], r["port"]), Role: "replica", ID: r["runid"]}
		if strings.Contains(r["flags"], "down") || r["master-link-status"] != "ok" {
			member.Err = fmt.Sprintf("%s, link to the master: %s", r["flags"], r["master-link-status"])
		}
		said.replicas = append(said.replicas, member)
	}
	return said, nil
}

// about is what INFO says of the Sentinel itself: who it is, and sentinel_tilt: 1 while it
// distrusts its clock and does nothing. The library has no INFO for Sentinels.
func (said *opinion) about(ctx context.Context, c *redis.SentinelClient, d *facts.Deployment) {
	cmd := redis.NewStringCmd(ctx, "INFO")
	text, err := Call(ctx, func() (string, error) {
		err := c.Process(ctx, cmd)
		return cmd.Val(), err
	})
	if err != nil {
		unknown(d, "INFO of Sentinel "+said.endpoint, err)
		said.tilt = "unknown"
		return
	}
	fields := infoFields(text)
	said.id, said.tilt = fields["run_id"], fields["sentinel_tilt"]
}
