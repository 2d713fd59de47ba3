package redis

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/survey"
)

// Survey implements locks.Surveyor. It only reads: docs/guides/first-look.md has the
// permissions for that, and a test that nothing more is used.
func (Driver) Survey(ctx context.Context, t locks.Target, o survey.Options) (survey.Survey, error) {
	asked, err := optionsOf(t)
	if err != nil {
		return survey.Survey{}, err
	}
	l := look{target: t, options: o}
	defer l.close()
	o.Progress("ask for the topology", time.Time{})
	if asked.Sentinel != "" {
		if t, err = l.throughSentinels(ctx, asked); err != nil {
			return l.found, err
		}
	}
	if err := l.topology(ctx); err != nil {
		return l.found, err
	}
	if asked.Sentinel == "" {
		t.Endpoints = l.found.Endpoints[:1]
	}
	if l.found.Service, err = (Driver{}).Inspect(ctx, t); err != nil {
		return l.found, err
	}
	l.clients(ctx)
	if asked.Sentinel != "" {
		if asked, err = optionsOf(t); err != nil { // with the master's name
			return l.found, err
		}
		l.behind(t, asked)
	}
	if err := l.keys(ctx); err != nil {
		return l.found, err
	}
	return l.found, nil
}

// look is one survey under way.
type look struct {
	target  locks.Target
	options survey.Options
	found   survey.Survey
	// masters are the servers whose keys are looked at, by address.
	masters []*redis.Client
	// refused are the permissions that were missing to read single keys.
	refused map[string]bool
}

func (l *look) close() {
	for _, m := range l.masters {
		_ = m.Close() // nothing is written that could be lost
	}
}

func (l *look) note(format string, args ...any) {
	l.found.Notes = append(l.found.Notes, fmt.Sprintf(format, args...))
}

// at opens another server of the same service, with the same credentials.
func (l *look) at(ctx context.Context, address string) (*redis.Client, error) {
	t := l.target
	t.Endpoints = []string{address}
	if strings.HasPrefix(l.target.Endpoints[0], "rediss://") {
		t.Endpoints[0] = "rediss://" + address
	}
	return connect(ctx, t, options{})
}

// clients are the machines that are connected, without this look itself.
func (l *look) clients(ctx context.Context) {
	byHost := map[string]*survey.Client{}
	sentinels := map[string]bool{}
	for _, m := range l.masters {
		text, err := Call(ctx, func() (string, error) { return m.ClientList(ctx).Result() })
		if err != nil {
			l.note("connected machines could not be read: CLIENT LIST: %v", err)
			return
		}
		for line := range strings.Lines(text) {
			of := map[string]string{}
			for pair := range strings.FieldsSeq(line) {
				name, value, _ := strings.Cut(pair, "=")
				of[name] = value
			}
			host, _, err := net.SplitHostPort(of["addr"])
			switch {
			case err != nil, strings.ContainsAny(of["flags"], "SM"), strings.HasPrefix(of["cmd"], "client"):
				continue // a replica, a primary, this look
			case strings.HasPrefix(of["name"], "sentinel-"):
				sentinels[host] = true
				continue
			}
			c := byHost[host]
			if c == nil {
				c = &survey.Client{Address: host}
				byHost[host] = c
			}
			c.Connections++
			if name := of["name"]; name != "" && !slices.Contains(c.Names, name) && len(c.Names) < maxNames {
				c.Names = append(c.Names, name)
			}
		}
	}
	for _, c := range byHost {
		l.found.Clients = append(l.found.Clients, *c)
	}
	slices.SortFunc(l.found.Clients, func(a, b survey.Client) int { return strings.Compare(a.Address, b.Address) })
	for host := range sentinels {
		l.found.Others = append(l.found.Others, facts.Member{Endpoint: host, Role: "sentinel"})
	}
	if n := len(sentinels); n > 0 {
		l.found.Topology += fmt.Sprintf(", watched by Sentinels on %d %s", n, plural(n, "machine"))
	}
}

// maxNames of one machine's connections.
const maxNames = 5
