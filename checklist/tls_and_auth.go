package checklist

import (
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/lockaudit/lockaudit/record"
)

func tlsAndAuth() Item {
	return Item{
		ID:       "tls_and_auth",
		Question: "does the lock service speak TLS and ask for authentication?",
		Why:      "Whoever reaches the port can delete anybody's lock. On a private network that is a risk to weigh, on a public address an open door.",
		Severity: Minor,
		Probes:   []string{inspect},
		Fix: map[string]string{
			"etcd":      "Start the members with --cert-file, --key-file and --client-cert-auth --trusted-ca-file; enable users with etcdctl auth enable.",
			"nats":      "tls with a ca_file and verify in the servers' configuration, and an account or user for each application that may publish to $KV.BUCKET.> of its own bucket alone.",
			"postgres":  "Set ssl = on, hostssl lines with scram-sha-256 in pg_hba.conf and no trust line, a role of its own for each application, and sslmode=verify-full on the client.",
			"redlock":   "On every server: tls-port, tls-cert-file and tls-ca-cert-file, port 0, and an ACL user with a password for each application (requirepass at least).",
			"redis":     "Set tls-port, tls-cert-file and tls-ca-cert-file, port 0, and an ACL user with a password for each application (requirepass at least).",
			"zookeeper": "Set secureClientPort with ssl.keyStore and ssl.trustStore (ssl.clientAuth=need is the default) and drop clientPort; make the nodes with an access list of the digest, x509 or sasl scheme instead of world:anyone, and leave skipACL off.",
			"":          "Let clients connect over TLS only, and give each application credentials of its own.",
		},
		Judge: judgeTLS,
	}
}

func judgeTLS(run record.Run) Finding {
	d := run.Facts
	f := Finding{Evidence: []Evidence{
		{Probe: inspect, Text: "TLS: " + yesNo(d.TLS)},
		{Probe: inspect, Text: "authentication required: " + yesNo(d.Auth)},
	}}
	var lacks []string
	if no(d.TLS) {
		lacks = append(lacks, "TLS")
	}
	if no(d.Auth) {
		lacks = append(lacks, "authentication")
	}
	open := public(run.Manifest.Subject.Endpoints)
	switch {
	case len(lacks) > 0 && open != "":
		f.Outcome, f.Summary = Fail, "no "+strings.Join(lacks, ", no ")+", on the public address "+open
	case len(lacks) > 0:
		f.Outcome, f.Summary = Warn, "no "+strings.Join(lacks, ", no ")
	case d.TLS == nil && d.Auth == nil:
		f.Summary = "neither TLS nor authentication could be determined"
	case d.TLS == nil:
		f.Summary = "whether TLS is used could not be determined"
	case d.Auth == nil:
		f.Summary = "whether authentication is required could not be determined"
	default:
		f.Outcome, f.Summary = Pass, "every endpoint was reached over TLS and asks for authentication"
	}
	return f
}

func no(b *bool) bool { return b != nil && !*b }

func yesNo(b *bool) string {
	switch {
	case b == nil:
		return "could not be read"
	case *b:
		return "yes"
	}
	return "no"
}

// public returns the first endpoint with a public address. A host name says
// nothing about where it is reachable from, so it does not count.
func public(endpoints []string) string {
	for _, endpoint := range endpoints {
		host := endpoint
		if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
			host = u.Host
		}
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if err == nil && addr.IsGlobalUnicast() && !addr.IsPrivate() && !shared.Contains(addr.Unmap()) {
			return addr.String()
		}
	}
	return ""
}

// shared is the carrier's and cloud's internal space (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")
