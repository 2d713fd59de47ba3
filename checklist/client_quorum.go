package checklist

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/facts"
)

// judgeClientQuorum is about servers that know nothing of each other and whose votes the
// clients count: it takes at least three that fail apart, and one vote each.
func judgeClientQuorum(d *facts.Deployment) Finding {
	ids, hosts := map[string][]string{}, map[string][]string{}
	var doubts []string
	unread := 0
	for _, m := range d.Members {
		switch {
		case m.Role == "slave":
			doubts = append(doubts, m.Endpoint+" is a replica, which grants nothing")
		case m.ID != "":
			ids[m.ID] = append(ids[m.ID], m.Endpoint)
		case m.Err != "":
			unread++
		default:
			ids[m.Endpoint] = append(ids[m.Endpoint], m.Endpoint)
		}
		hosts[hostOf(m.Endpoint)] = append(hosts[hostOf(m.Endpoint)], m.Endpoint)
	}
	doubts = append(doubts, together("are one server (one run_id)", ids)...)
	doubts = append(doubts, together("are on one machine", hosts)...)
	if n := len(d.Members); n%2 == 0 {
		doubts = append(doubts, fmt.Sprintf("an even number, %d, bears no more losses than %d", n, n-1))
	}
	f := Finding{Evidence: append(memberFacts(d), settingFacts(d, "quorum")...)}
	servers := count(len(ids), "server") + fmt.Sprintf(" of their own, %d of %d votes grant", d.Quorum, len(d.Members))
	for _, list := range ids {
		if len(list) >= d.Quorum {
			f.Outcome = Fail
			f.Summary = "one server has the majority alone: " + strings.Join(list, ", ") + " are one (one run_id)"
			return f
		}
	}
	switch {
	case len(ids) == 0 || len(ids) < quorum && unread > 0:
		f.Summary = fmt.Sprintf("%s could not be read", count(unread, "member"))
		return f
	case len(ids) < quorum:
		f.Outcome, f.Summary = Warn, servers+": a majority does not survive the loss of one"
	case len(doubts) > 0:
		f.Outcome, f.Summary = Warn, servers
	default:
		f.Outcome, f.Summary = Pass, servers
	}
	if len(doubts) > 0 {
		f.Summary += "; " + strings.Join(doubts, "; ")
	}
	if unread > 0 {
		f.Summary += fmt.Sprintf("; %s could not be read", count(unread, "member"))
	}
	return f
}

// together lists endpoints that have something in common.
func together(what string, by map[string][]string) (out []string) {
	for _, list := range by {
		if len(list) > 1 {
			out = append(out, strings.Join(list, ", ")+" "+what)
		}
	}
	slices.Sort(out)
	return out
}

// hostOf is the machine of an endpoint, host:port with or without a scheme.
func hostOf(endpoint string) string {
	if _, rest, ok := strings.Cut(endpoint, "://"); ok {
		endpoint = rest
	}
	if host, _, err := net.SplitHostPort(endpoint); err == nil {
		return host
	}
	return endpoint
}

// settingFacts cites a setting of that name.
func settingFacts(d *facts.Deployment, name string) (out []Evidence) {
	for _, s := range d.Settings {
		if s.Name == name {
			out = append(out, Evidence{Probe: inspect, Text: s.Name + " " + s.Value})
		}
	}
	return out
}

// How long a client that counts votes should wait for each server, as a share of the
// lease: Redis' documentation has 5 to 50 ms for 10 s.
const (
	nodeTimeoutLeast = 0.0005
	nodeTimeoutMost  = 0.005
)

// nodeTimeout says what is wrong with how long the clients wait for each server; tail is
// the longest round trip that was seen.
func nodeTimeout(d *facts.Deployment, ttl, tail time.Duration) string {
	if d == nil || d.Quorum == 0 || d.NodeTimeout == 0 {
		return ""
	}
	most := time.Duration(nodeTimeoutMost * float64(ttl))
	least := time.Duration(nodeTimeoutLeast * float64(ttl))
	want := fmt.Sprintf("(Redis' documentation: %s to %s for a lease of %s)", fine(least), fine(most), Duration(ttl))
	switch {
	case d.NodeTimeout <= tail:
		return fmt.Sprintf("the clients wait %s for each server, and round trips of %s were seen: servers that are well are counted as lost %s", fine(d.NodeTimeout), fine(tail), want)
	case d.NodeTimeout < least:
		return fmt.Sprintf("the clients wait only %s for each server %s", fine(d.NodeTimeout), want)
	case d.NodeTimeout > most:
		return fmt.Sprintf("one server that does not answer costs each acquire %s of the lease of %s %s", fine(d.NodeTimeout), Duration(ttl), want)
	}
	return ""
}
