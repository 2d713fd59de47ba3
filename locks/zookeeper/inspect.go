package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/locks"
)

// Inspect implements locks.Driver. It reads, and opens a session with each server, which
// is all that it leaves in the servers' logs.
func (Driver) Inspect(ctx context.Context, t locks.Target) (facts.Deployment, error) {
	o, err := optionsOf(t)
	if err != nil {
		return facts.Deployment{}, err
	}
	d, err := newDialer(t)
	if err != nil {
		return facts.Deployment{}, err
	}
	found := facts.Deployment{
		Backend:       "zookeeper",
		Consensus:     "zab",
		Evicts:        yes(false),
		WallClock:     yes(false), // sessions run on the leader's monotonic clock
		OrderedTokens: yes(true),
		TLS:           yes(d.tls != nil),
	}
	all := askAll(ctx, d)
	if !slices.ContainsFunc(all, func(r reading) bool { return r.err == nil }) {
		return facts.Deployment{}, fmt.Errorf("connect to zookeeper: no server answers: %w", all[0].err)
	}
	members(all, &found)
	settings(all, t.TTL, &found)
	d.servers = slices.DeleteFunc(d.servers, func(server string) bool {
		return slices.ContainsFunc(all, func(r reading) bool { return r.endpoint == server && r.err != nil })
	})
	started(ctx, d, o, &found)
	access(ctx, d, t, &found)
	for _, bug := range bugsOf(found.Version) {
		note(&found, "known bug of version "+found.Version, bug)
	}
	return found, nil
}

func yes(b bool) *bool { return &b }

func note(d *facts.Deployment, name, value string) {
	d.Settings = append(d.Settings, facts.Setting{Name: name, Value: value})
}

// reading is what one endpoint says.
type reading struct {
	endpoint         string
	srvr, conf, mntr map[string]string
	timeouts         []time.Duration // of the sessions that are connected there
	missing          []string        // words that it did not answer, and why
	id               string          // of the server
	servers          []string        // lines of the ensemble's configuration
	granted          [2]time.Duration
	err              error
}

// stragglerLimit is how much later than the first a server may answer: one that is cut off
// would otherwise cost every look the whole wordLimit.
const stragglerLimit = time.Second

// askAll asks every endpoint at once.
func askAll(ctx context.Context, d *dialer) []reading {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all := make([]reading, len(d.servers))
	var asked sync.WaitGroup
	var first sync.Once
	for i, server := range d.servers {
		asked.Go(func() {
			if all[i] = askOne(ctx, d.at(server)); all[i].err == nil {
				first.Do(func() { time.AfterFunc(stragglerLimit, cancel) })
			}
		})
	}
	asked.Wait()
	return all
}

func askOne(ctx context.Context, d *dialer) reading {
	r := reading{endpoint: d.servers[0]}
	words := []string{"srvr", "conf", "mntr", "cons"}
	said, errs := make([]string, len(words)), make([]error, len(words))
	var asked sync.WaitGroup
	for i, w := range words {
		asked.Go(func() { said[i], errs[i] = word(ctx, r.endpoint, w, d.tls) })
	}
	asked.Wait()
	if errs[0] != nil && !errors.Is(errs[0], errNotListed) {
		r.err = errs[0]
		return r
	}
	for i, w := range words {
		if errs[i] != nil {
			r.missing = append(r.missing, unknownAt(w, r.endpoint, errs[i]))
		}
	}
	r.srvr, r.conf, r.mntr = values(said[0], ": "), values(said[1], "="), values(said[2], "\t")
	r.servers, r.timeouts = ensemble(said[1]), sessionTimeouts(said[3])
	r.introduce(ctx, d)
	return r
}

// settings are what a reader of the report wants to see of what was read.
func settings(all []reading, ttl time.Duration, d *facts.Deployment) {
	for _, r := range all {
		for _, name := range []string{"tickTime", "initLimit", "syncLimit", "minSessionTimeout", "maxSessionTimeout"} {
			if value, ok := r.conf[name]; ok && !slices.Contains(d.Settings, facts.Setting{Name: name, Value: value}) {
				note(d, name, value)
			}
		}
		for _, name := range []string{"zk_fsync_threshold_exceed_count", "zk_max_fsynctime", "zk_digest_mismatches_count", "zk_synced_followers", "zk_synced_observers"} {
			if value, ok := r.mntr[name]; ok {
				note(d, strings.TrimPrefix(name, "zk_")+" at "+r.endpoint, value)
			}
		}
		if zxid, ok := r.srvr["Zxid"]; ok {
			note(d, "zxid at "+r.endpoint, zxid)
		}
		if len(r.timeouts) > 0 {
			note(d, "timeouts of the sessions at "+r.endpoint, fmt.Sprintf("%s to %s, of %d", slices.Min(r.timeouts), slices.Max(r.timeouts), len(r.timeouts)))
		}
		d.Unknown = append(d.Unknown, r.missing...)
	}
	limits(all, ttl, d)
}

// limits of a session's timeout, what they make of the one that the plan asks for, and how
// it compares with a cut.
func limits(all []reading, ttl time.Duration, d *facts.Deployment) {
	for _, r := range all {
		if r.granted[0] == 0 {
			continue // it did not answer
		}
		if d.MinTTL == 0 || r.granted[0] > d.MinTTL {
			d.MinTTL = r.granted[0]
		}
		note(d, "session timeouts at "+r.endpoint, fmt.Sprintf("%s to %s", r.granted[0], r.granted[1]))
		granted := min(max(ttl, r.granted[0]), r.granted[1])
		if ttl > 0 && granted != ttl {
			note(d, "session timeout asked of "+r.endpoint, fmt.Sprintf("%s, of which it grants %s", ttl, granted))
		}
		tick, tickErr := time.ParseDuration(r.conf["tickTime"] + "ms")
		ticks, ticksErr := time.ParseDuration(r.conf["syncLimit"] + "ms")
		if tickErr != nil || ticksErr != nil {
			continue
		}
		// A follower that is cut off from the leader answers pings until then, also for a
		// session that the leader has let expire.
		cut := tick * (ticks / time.Millisecond)
		words := fmt.Sprintf("for up to %s (syncLimit ticks)", cut)
		if ttl > 0 && granted <= cut {
			words += fmt.Sprintf(", longer than the session timeout of %s: one that has expired may look alive there", granted)
		}
		note(d, "a cut follower serves its clients, at "+r.endpoint, words)
	}
}
