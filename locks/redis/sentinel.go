package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/locks"
)

// failover is how to reach the master by way of the Sentinels. The library asks them
// with each new connection, and hears of a failover from them.
func failover(t locks.Target, o options) (*redis.FailoverOptions, error) {
	if len(t.Endpoints) == 0 {
		return nil, fmt.Errorf("connect to redis: no Sentinel: %w", locks.ErrRefused)
	}
	f := &redis.FailoverOptions{
		MasterName: o.Sentinel, SentinelUsername: o.SentinelUsername, SentinelPassword: o.SentinelPassword,
		Username: t.Username, Password: t.Password,
		// As for one server, see configure.
		MaxRetries: -1, ContextTimeoutEnabled: true, DialTimeout: reachLimit, DialerRetries: 1,
		ReadTimeout: answerLimit, WriteTimeout: answerLimit, DisableIdentity: true,
	}
	for _, e := range t.Endpoints {
		one, err := configure(single(t, e))
		if err != nil {
			return nil, err
		}
		f.SentinelAddrs = append(f.SentinelAddrs, one.Addr)
		f.TLSConfig = one.TLSConfig
	}
	return f, nil
}

// known reports whether a Sentinel that answers knows the master.
func known(t locks.Target, o options) bool {
	for _, e := range t.Endpoints {
		ctx, cancel := context.WithTimeout(context.Background(), reachLimit/3)
		config, err := configure(single(t, e))
		if err == nil {
			config.Username, config.Password = o.SentinelUsername, o.SentinelPassword
			s := redis.NewSentinelClient(config)
			_, err = call(ctx, func() ([]string, error) { return s.GetMasterAddrByName(ctx, o.Sentinel).Result() })
			_ = s.Close()
		}
		cancel()
		if err == nil {
			return true
		}
	}
	return false
}

// single is the target with one endpoint.
func single(t locks.Target, endpoint string) locks.Target {
	t.Endpoints = []string{endpoint}
	return t
}

// sentinels reads what each Sentinel says and returns where the master is. The replicas
// that they know become members.
func sentinels(ctx context.Context, t locks.Target, o options, d *facts.Deployment) (master string) {
	answered := 0
	for _, e := range t.Endpoints {
		config, err := configure(single(t, e))
		if err != nil {
			unknown(d, "Sentinel "+e, err)
			continue
		}
		config.Username, config.Password = o.SentinelUsername, o.SentinelPassword
		s := sentinel{name: o.Sentinel, endpoint: e, c: redis.NewSentinelClient(config)}
		where, err := s.read(ctx, d, answered == 0)
		err = errors.Join(err, s.c.Close())
		if err != nil {
			unknown(d, "Sentinel "+e, err)
			continue
		}
		if answered++; master != "" && where != master {
			d.Settings = append(d.Settings, facts.Setting{Name: "Sentinel " + e + " disagrees", Value: "its master is " + where})
			continue
		}
		master = where
	}
	d.Settings = append(d.Settings, facts.Setting{Name: "Sentinels that answer", Value: fmt.Sprintf("%d of %d", answered, len(t.Endpoints))})
	return master
}

type sentinel struct {
	name, endpoint string
	c              *redis.SentinelClient
}

// shown are the fields of SENTINEL MASTER that a reader of the report wants to see.
var shown = []string{"quorum", "num-slaves", "num-other-sentinels", "down-after-milliseconds", "failover-timeout", "flags"}

// read asks one Sentinel. The first that answers tells of the deployment; of the others
// only what is their own counts: whether they are in TILT, and reach the quorum.
func (s sentinel) read(ctx context.Context, d *facts.Deployment, first bool) (master string, err error) {
	m, err := call(ctx, func() (map[string]string, error) { return s.c.Master(ctx, s.name).Result() })
	if err != nil {
		return "", err
	}
	note := func(name, value string) {
		d.Settings = append(d.Settings, facts.Setting{Name: name + " at Sentinel " + s.endpoint, Value: value})
	}
	switch quorum, err := call(ctx, func() (string, error) { return s.c.CkQuorum(ctx, s.name).Result() }); {
	case err == nil:
		note("ckquorum", quorum)
	case errors.Is(err, locks.ErrRefused): // NOQUORUM is an error of the protocol, and an answer
		note("ckquorum", strings.TrimPrefix(err.Error(), locks.ErrRefused.Error()+": "))
	default:
		unknown(d, "SENTINEL CKQUORUM at "+s.endpoint, err)
	}
	if tilt, err := s.tilt(ctx); err != nil {
		unknown(d, "TILT of Sentinel "+s.endpoint, err)
	} else {
		note("tilt", tilt)
	}
	master = net.JoinHostPort(m["ip"], m["port"])
	if !first {
		return master, nil
	}
	for _, name := range shown {
		if value, ok := m[name]; ok {
			d.Settings = append(d.Settings, facts.Setting{Name: "sentinel " + name, Value: value})
		}
	}
	replicas, err := call(ctx, func() ([]map[string]string, error) { return s.c.Replicas(ctx, s.name).Result() })
	if err != nil {
		return master, fmt.Errorf("list replicas: %w", err)
	}
	for _, r := range replicas {
		member := facts.Member{Endpoint: net.JoinHostPort(r["ip"], r["port"]), Role: "replica", ID: r["runid"]}
		if strings.Contains(r["flags"], "down") || r["master-link-status"] != "ok" {
			member.Err = fmt.Sprintf("%s, link to the master: %s", r["flags"], r["master-link-status"])
		}
		d.Members = append(d.Members, member)
	}
	return master, nil
}

// tilt is sentinel_tilt of INFO: 1 while the Sentinel distrusts its clock and does
// nothing. The library has no INFO for Sentinels.
func (s sentinel) tilt(ctx context.Context) (string, error) {
	cmd := redis.NewStringCmd(ctx, "INFO", "sentinel")
	text, err := call(ctx, func() (string, error) {
		err := s.c.Process(ctx, cmd)
		return cmd.Val(), err
	})
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "sentinel_tilt:"); ok {
			if _, err := strconv.Atoi(value); err == nil {
				return value, nil
			}
		}
	}
	return "", errors.New("INFO sentinel has no sentinel_tilt")
}
