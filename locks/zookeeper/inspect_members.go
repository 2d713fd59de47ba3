package zookeeper

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/lockaudit/lockaudit/facts"
)

// configNode holds the ensemble's servers, and may be read by everybody, since 3.5.
const configNode = "/zookeeper/config"

// introduce finds out who the server is, what timeouts it grants and what ensemble it
// belongs to: from the word conf, or else from the sessions that it gives.
func (r *reading) introduce(ctx context.Context, d *dialer) {
	least, leastErr := time.ParseDuration(r.conf["minSessionTimeout"] + "ms")
	most, mostErr := time.ParseDuration(r.conf["maxSessionTimeout"] + "ms")
	r.id = r.conf["serverId"]
	if leastErr == nil && mostErr == nil && len(r.servers) > 0 && r.id != "" {
		r.granted = [2]time.Duration{least, most}
		return
	}
	for i, timeout := range []time.Duration{time.Millisecond, maxTTL} {
		s, err := d.open(ctx, timeout)
		if err != nil {
			r.err = err
			return
		}
		r.granted[i] = s.granted
		if i == 1 {
			r.view(ctx, s)
			r.id = numbered(uint64(s.conn.SessionID()), len(r.servers) > 0)
		}
		s.close()
	}
}

// numbered is who has numbered a session: the first byte is the number of the server in
// its ensemble. One that stands alone has no such number, and is known by when it was
// started, which is in the middle.
func numbered(session uint64, inEnsemble bool) string {
	if inEnsemble {
		return strconv.FormatUint(session>>56, 10)
	}
	const counter = 16 // bits
	return "started-" + strconv.FormatUint(session<<8>>8>>counter, 16)
}

// view reads the ensemble's configuration, unless the word conf has told it.
func (r *reading) view(ctx context.Context, s *session) {
	if len(r.servers) > 0 {
		return
	}
	said, err := insist(ctx, s, func(c *zk.Conn) (string, error) {
		b, _, err := c.Get(configNode)
		return string(b), err
	})
	if err != nil {
		r.missing = append(r.missing, unknownAt(configNode, r.endpoint, err))
		return
	}
	r.servers = ensemble(said)
}

// ensemble is the lines "server.1=host:2888:3888:participant;0.0.0.0:2181".
func ensemble(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "server.") {
			lines = append(lines, line)
		}
	}
	return lines
}

// members lists every endpoint as the server that it is, and whatever servers the
// configuration has besides. Two endpoints of one server are one member.
func members(all []reading, d *facts.Deployment) {
	names := map[string]string{}
	for _, r := range all {
		for _, line := range r.servers {
			id, where, _ := strings.Cut(strings.TrimPrefix(line, "server."), "=")
			names[id] = where
		}
	}
	for _, where := range names {
		if !strings.Contains(where, ":observer") {
			d.Voters++
		}
	}
	for _, r := range all {
		id := r.id
		if r.err != nil {
			d.Members = append(d.Members, facts.Member{Endpoint: r.endpoint, ID: id, Err: r.err.Error()})
			continue
		}
		if same := slices.IndexFunc(d.Members, func(m facts.Member) bool { return m.Err == "" && m.ID == id }); same >= 0 {
			note(d, "one server with several endpoints", d.Members[same].Endpoint+", "+r.endpoint)
			continue
		}
		m := facts.Member{Name: r.name(), ID: id, Endpoint: r.endpoint, Role: r.srvr["Mode"], Version: version(r.srvr["Zookeeper version"])}
		if m.Role == "standalone" {
			d.Voters = max(d.Voters, 1)
		}
		if m.Version != "" && (d.Version == "" || versionLess(m.Version, d.Version)) {
			d.Version = m.Version
		}
		d.Members = append(d.Members, m)
		delete(names, id)
	}
	if d.Version == "" {
		d.Version = "unknown"
	}
	unasked(names, all, d)
}

func (r *reading) name() string {
	if len(r.servers) == 0 {
		return ""
	}
	return "server." + r.id
}

// unasked are servers of the ensemble that the plan does not name.
func unasked(names map[string]string, all []reading, d *facts.Deployment) {
	var left []string
	for id, where := range names {
		failed := slices.ContainsFunc(all, func(r reading) bool { return r.err != nil && sameHost(r.endpoint, where) })
		if !failed {
			left = append(left, "server."+id+"="+where)
		}
	}
	slices.Sort(left)
	for _, one := range left {
		note(d, "a server of the ensemble that the plan does not name", one)
	}
}

// sameHost compares the client's address of a server with the endpoint of the plan.
func sameHost(endpoint, where string) bool {
	peers, client, _ := strings.Cut(where, ";")
	host, port, _ := strings.Cut(endpoint, ":")
	peerHost, _, _ := strings.Cut(peers, ":")
	return peerHost == host && (client == "" || client == port || strings.HasSuffix(client, ":"+port))
}

var timeoutOf = regexp.MustCompile(`\bto=(\d+)`)

// sessionTimeouts reads them out of the word cons.
func sessionTimeouts(cons string) (out []time.Duration) {
	for _, match := range timeoutOf.FindAllStringSubmatch(cons, -1) {
		if ms, err := time.ParseDuration(match[1] + "ms"); err == nil {
			out = append(out, ms)
		}
	}
	return out
}

// versionLess compares dotted numbers; what is no number counts as 0.
func versionLess(a, b string) bool {
	var x, y [3]int
	_, _ = fmt.Sscanf(a, "%d.%d.%d", &x[0], &x[1], &x[2])
	_, _ = fmt.Sscanf(b, "%d.%d.%d", &y[0], &y[1], &y[2])
	return slices.Compare(x[:], y[:]) < 0
}
