package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/locks"
)

// AnyMaster is a Sentinel option that leaves it to the Sentinels which master is meant:
// there must be one.
const AnyMaster = "?"

// throughSentinels asks the Sentinels that were named where the master is, and for the
// others of their kind: a plan names all of them. The look goes on at the master.
func (l *look) throughSentinels(ctx context.Context, o options) (locks.Target, error) {
	t := l.target
	if o.Sentinel == AnyMaster {
		name, err := l.onlyMaster(ctx, o)
		if err != nil {
			return t, err
		}
		o.Sentinel = name
		if t.Options, err = json.Marshal(map[string]string{
			"sentinel": o.Sentinel, "sentinel_username": o.SentinelUsername, "sentinel_password": o.SentinelPassword,
		}); err != nil {
			return t, fmt.Errorf("encode options: %w", err)
		}
	}
	t.Endpoints = l.allSentinels(ctx, o)
	var d facts.Deployment
	master := sentinels(ctx, t, o, &d)
	if master == "" {
		return t, noMaster(o, d)
	}
	l.options.Progress("the master is "+master, time.Time{})
	l.target = single(t, likeEndpoint(t, master))
	l.target.Options = nil
	return t, nil
}

// behind describes the deployment by the Sentinels once the master was looked at.
func (l *look) behind(t locks.Target, o options) {
	l.found.Endpoints = t.Endpoints
	l.found.Options = fmt.Sprintf("{sentinel: %q}", o.Sentinel)
	quorum := "unknown"
	for _, s := range l.found.Service.Settings {
		switch {
		case s.Name == "sentinel quorum":
			quorum = s.Value
		case strings.HasPrefix(s.Name, "one Sentinel with") || strings.HasPrefix(s.Name, "Sentinels on one") || strings.HasPrefix(s.Name, "Redis servers on one") ||
			strings.HasPrefix(s.Name, "another master"):
			l.note("%s: %s", s.Name, s.Value)
		case strings.HasPrefix(s.Name, "tilt at") && s.Value == "1":
			l.note("%s: it distrusts its clock and does nothing", s.Name)
		case strings.HasPrefix(s.Name, "ckquorum at") && !strings.HasPrefix(s.Value, "OK"):
			l.note("%s: %s", s.Name, s.Value)
		case s.Name == "min-replicas-to-write" && s.Value == "0":
			l.note("min-replicas-to-write is 0: a master that is cut off goes on granting")
		}
	}
	words, _, _ := strings.Cut(l.found.Topology, ", watched")
	words = strings.Replace(words, "a primary", "a master", 1)
	l.found.Topology = fmt.Sprintf("%s, behind %d %s with a quorum of %s", words, len(t.Endpoints), plural(len(t.Endpoints), "Sentinel"), quorum)
}

// onlyMaster is the name of the master, if the Sentinels watch one.
func (l *look) onlyMaster(ctx context.Context, o options) (string, error) {
	var failed error
	for _, e := range l.target.Endpoints {
		names, err := masterNames(ctx, l.target, o, e)
		switch {
		case err != nil:
			failed = errors.Join(failed, fmt.Errorf("ask Sentinel %s for its masters: %w", e, err))
		case len(names) == 1:
			return names[0], nil
		default:
			return "", fmt.Errorf("%w: Sentinel %s watches %d masters: %s", errWhichMaster, e, len(names), strings.Join(names, ", "))
		}
	}
	return "", failed
}

// errWhichMaster: the URL has to name it.
var errWhichMaster = errors.New("read topology: which master")

func masterNames(ctx context.Context, t locks.Target, o options, endpoint string) (names []string, err error) {
	c, err := sentinelAt(t, o, endpoint)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	all, err := Call(ctx, func() ([]any, error) { return c.Masters(ctx).Result() })
	if err != nil {
		return nil, err
	}
	for _, one := range all {
		if fields, ok := one.(map[any]any); ok { // RESP3
			names = append(names, fmt.Sprint(fields["name"]))
			continue
		}
		if pairs, ok := one.([]any); ok {
			for i := 0; i+1 < len(pairs); i += 2 {
				if pairs[i] == "name" {
					names = append(names, fmt.Sprint(pairs[i+1]))
				}
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

// allSentinels are those that were named, and the others that they know.
func (l *look) allSentinels(ctx context.Context, o options) []string {
	out := slices.Clone(l.target.Endpoints)
	for _, e := range l.target.Endpoints {
		others, err := otherSentinels(ctx, l.target, o, e)
		if err != nil {
			l.note("the other Sentinels could not be read from %s: %v", e, err)
			continue
		}
		for _, other := range others {
			if other = likeEndpoint(l.target, other); !slices.Contains(out, other) {
				out = append(out, other)
			}
		}
	}
	return out
}

func otherSentinels(ctx context.Context, t locks.Target, o options, endpoint string) (out []string, err error) {
	c, err := sentinelAt(t, o, endpoint)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	all, err := Call(ctx, func() ([]map[string]string, error) { return c.Sentinels(ctx, o.Sentinel).Result() })
	for _, s := range all {
		out = append(out, net.JoinHostPort(s["ip"], s["port"]))
	}
	return out, err
}
