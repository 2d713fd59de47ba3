package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/plan"
	"github.com/spf13/cobra"
)

// tellFound says on stderr what was found, and what comes next.
func tellFound(cmd *cobra.Command, src source, f initFlags, d plan.Draft) {
	w := cmd.ErrOrStderr()
	found := d.Found
	more := ""
	if !found.All && f.key == "" {
		more = fmt.Sprintf(" (there are more: --limit %d, or --prefix)", f.limit)
	}
	fmt.Fprintf(w, "found: %s %s, %s\n", found.Service.Backend, found.Service.Version, found.Topology)
	fmt.Fprintf(w, "keys: %d looked at%s, watched for %.1f s\n", found.Keys, more, found.Watched.Seconds())
	for i, g := range found.Locks {
		if i == maxTold {
			fmt.Fprintf(w, "  … and %d more\n", len(found.Locks)-maxTold)
			break
		}
		fmt.Fprintf(w, "  %s\n", plain(g.Pattern+", "+strings.Join(plan.Describe(g), "; ")))
	}
	switch {
	case len(found.Locks) > 0:
	case f.key != "":
		fmt.Fprintf(w, "nobody held %s: its lease in the plan is a guess; try a longer --watch\n", plain(f.key))
	default:
		fmt.Fprintf(w, "no lock was seen: the plan names %s, replace it; a lock that is held rarely needs a longer --watch\n", plan.NoKey)
	}
	for _, n := range append(found.Notes, found.Service.Unknown...) {
		fmt.Fprintf(w, "note: %s\n", plain(n))
	}
	if src.passwordInURL {
		fmt.Fprintf(w, "note: a password in a URL can be seen by every user of this machine; %s is the safer place, and the plan reads it from there\n", d.PasswordFrom)
	}
	if f.output != "-" {
		fmt.Fprintf(w, "plan: %s\nnext: lockaudit plan %s, then lockaudit inspect %s\n", f.output, f.output, f.output)
	}
}

// maxTold of the candidates are told on the terminal.
const maxTold = 10

// plain keeps what a server said from writing to the terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// lookFailed adds what to do about a service that could not be looked at.
func lookFailed(err error, src source) error {
	var denied *locks.Denied
	if errors.Is(err, context.Canceled) {
		return hinted{errors.New("look at the service: interrupted"), "nothing was written, neither there nor here"}
	}
	if errors.As(err, &denied) {
		return hinted{err, "grant it, or leave out what needs it; docs/guides/first-look.md has all that a look needs"}
	}
	text := err.Error()
	if strings.Contains(text, "needs the permission") { // of several servers, each of which said so
		return hinted{err, "docs/guides/first-look.md has all that a look needs"}
	}
	for _, h := range lookHints(src) {
		for _, sign := range h.signs {
			if strings.Contains(text, sign) {
				return hinted{err, h.hint}
			}
		}
	}
	return err
}

type lookHint struct {
	signs []string
	hint  string
}

// postgresHints are what PostgreSQL says in words of its own.
func postgresHints() []lookHint {
	return []lookHint{
		{[]string{"x509: certificate signed by unknown authority", "x509: certificate is not trusted"}, "--ca names the file of the authority that signed the server's certificate"},
		{[]string{"x509:"}, "--server-name names the name in the server's certificate"},
		{[]string{"refused TLS connection"}, "it speaks no TLS: without --ca and sslmode"},
		{[]string{"no encryption"}, "it asks for TLS: --ca, or ?sslmode=verify-full behind the database"},
		{[]string{"connection requires a valid client certificate"}, "it asks for a client certificate: --cert and --cert-key"},
		{[]string{"no pg_hba.conf entry"}, "pg_hba.conf has no line for this user, database and machine"},
		{[]string{"password authentication failed", "no password was provided", "empty password"}, "check the user in the URL and the password in " + defaultPasswordVar},
		{[]string{"3D000"}, "the database is named in the URL: postgres://USER@HOST/DATABASE"},
		{[]string{"statement timeout"}, "a table took too long to read: --prefix, --key or a lower --limit"},
		{[]string{"connection refused"}, "nobody listens there, as seen from this machine; check address and port"},
		{[]string{"no such host"}, "check the name, as seen from this machine"},
		{[]string{"no route to host", "network is unreachable", "i/o timeout", "deadline exceeded"}, "no answer from there; check the address, and what is between it and this machine"},
		{[]string{"EOF", "unexpected message", "connection reset", "broken pipe"}, "something else listens there"},
	}
}

// lookHints go by words, because gRPC keeps nothing else of an error. The first that
// fits counts.
func lookHints(src source) []lookHint {
	plainScheme, secureScheme := src.service.plain()+"://", src.service.secure()+"://"
	if src.service.backend == "postgres" {
		return postgresHints()
	}
	return []lookHint{
		{[]string{"x509: certificate signed by unknown authority", "x509: certificate is not trusted", "certificate is not standards compliant"}, "--ca names the file of the authority that signed the service's certificate"},
		{[]string{"x509:"}, "--server-name names the name in the service's certificate"},
		{[]string{"HTTP request to an HTTPS server", "it speaks TLS"}, "it speaks TLS: " + secureScheme + "…"},
		{[]string{"HTTP response to HTTPS client", "it speaks no TLS", "first record does not look like a TLS handshake"}, "it speaks no TLS: " + plainScheme + "…"},
		{[]string{"certificate required", "bad certificate", "remote error: tls"}, "it asks for a client certificate: --cert and --cert-key"},
		{[]string{"WRONGPASS", "authentication failed", "invalid password"}, "check the user in the URL and the password in " + defaultPasswordVar},
		{[]string{"NOAUTH", "user name is empty", "without any password configured"}, "it asks for a user and a password: " + src.service.scheme + "://USER@… and " + defaultPasswordVar},
		{[]string{"connection refused"}, "nobody listens there, as seen from this machine; check address and port"},
		{[]string{"no such host"}, "check the name, as seen from this machine"},
		{[]string{"no route to host", "network is unreachable", "i/o timeout"}, "no answer from there; check the address, and what is between it and this machine"},
		{[]string{"which master"}, "the URL names it: redis+sentinel://HOST/MASTER"},
		{[]string{"this is a Sentinel"}, "redis+sentinel://… looks by way of it, at the master that it names"},
		{[]string{"unknown command 'sentinel'"}, "that is a Redis, and no Sentinel: redis://…"},
		{[]string{"No such master"}, "the name behind the address is the one in sentinel.conf"},
		{[]string{"EOF", "server preface", "connection reset", "broken pipe", "invalid reply", "can't parse"}, "something else listens there, or it speaks TLS: " + secureScheme + "…"},
		{[]string{"deadline exceeded"}, "no answer in time; check the address, and whether it speaks TLS (" + secureScheme + "…)"},
	}
}
