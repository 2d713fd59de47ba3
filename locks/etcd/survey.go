package etcd

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/survey"
)

// Survey implements locks.Surveyor. It only reads: docs/guides/first-look.md has the
// role for that, and a test that nothing more is used.
func (d Driver) Survey(ctx context.Context, t locks.Target, o survey.Options) (survey.Survey, error) {
	var found survey.Survey
	o.Progress("ask for the members", time.Time{})
	service, err := d.Inspect(ctx, t)
	if err != nil {
		return found, err
	}
	if all := endpoints(service, t); len(all) > len(t.Endpoints) {
		o.Progress("ask all members", time.Time{})
		whole := t
		whole.Endpoints = all
		if more, err := d.Inspect(ctx, whole); err == nil {
			service = more
		}
	}
	found.Service = service
	found.Endpoints, found.Others = servers(service, &found)
	found.Topology = fmt.Sprintf("a quorum of %d", service.Voters)
	if service.Voters == 0 {
		found.Topology = "unknown: the members could not be listed"
	}
	etcd, err := connect(ctx, t)
	if err != nil {
		return found, err
	}
	defer etcd.Close()
	l := look{etcd: etcd, options: o, found: &found, watch: survey.Watch{Coarse: coarse}, mutex: map[string]bool{}}
	return found, l.keys(ctx)
}

// endpoints are the client URLs of all voters: the user's own for those that it named.
func endpoints(d facts.Deployment, t locks.Target) []string {
	out := slices.Clone(t.Endpoints)
	for _, m := range d.Members {
		if m.Version != "" || m.Role == "learner" || m.Endpoint == "" {
			continue // asked already, or without a vote
		}
		out = append(out, strings.Split(m.Endpoint, ",")[0])
	}
	return out
}

// servers tells the members that a plan should name from the others.
func servers(d facts.Deployment, found *survey.Survey) (named []string, others []facts.Member) {
	for _, m := range d.Members {
		first := strings.Split(m.Endpoint, ",")[0]
		switch {
		case m.Role == "learner":
			others = append(others, m)
			continue
		case m.Err != "":
			found.Notes = append(found.Notes, fmt.Sprintf("the member %s did not answer from here: %s", m.Endpoint, m.Err))
		case loopback(first) && len(d.Members) > 1:
			found.Notes = append(found.Notes, fmt.Sprintf("the member %s tells its clients a loopback address, which leads nowhere from other machines", m.Endpoint))
		}
		if first != "" {
			named = append(named, first)
		}
	}
	return named, others
}

func loopback(endpoint string) bool {
	u, err := url.Parse(endpoint)
	return err == nil && (u.Hostname() == "localhost" || strings.HasPrefix(u.Hostname(), "127.") || u.Hostname() == "::1")
}
