package plan

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// nodeName is what may become part of a file name and of a command's argument.
var nodeName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

func (p *Plan) validate() error {
	if !nodeName.MatchString(p.Name) {
		return &Error{Msg: fmt.Sprintf("name %q is not a name", p.Name), Hint: "lower-case letters, digits, dot, dash and underscore"}
	}
	if err := p.Lock.validate(); err != nil {
		return err
	}
	if p.Resource != nil {
		if err := p.Resource.validate(); err != nil {
			return err
		}
	}
	if err := p.Clients.validate(); err != nil {
		return err
	}
	if p.Trials < 1 || p.Trials > 1000 {
		return &Error{Msg: fmt.Sprintf("trials %d is out of range", p.Trials), Hint: "1 to 1000; 3 is the default"}
	}
	if err := p.Safety.validate(); err != nil {
		return err
	}
	if p.MeasureFor < time.Second || p.MeasureFor > 5*time.Minute {
		return &Error{Msg: fmt.Sprintf("measure_for %s is out of range", p.MeasureFor), Hint: "1s to 5m; 5s is the default"}
	}
	if err := p.validateNodes(); err != nil {
		return err
	}
	if err := p.validateClients(); err != nil {
		return err
	}
	if err := p.validateHooks(); err != nil {
		return err
	}
	if err := p.validateWaivers(); err != nil {
		return err
	}
	if err := p.validateObserve(); err != nil {
		return err
	}
	return p.validateSignals()
}

func (l Lock) validate() error {
	switch {
	case l.Backend == "":
		return &Error{Msg: "lock.backend is missing", Hint: "for example: backend: etcd"}
	case len(l.Endpoints) == 0:
		return &Error{Msg: "lock.endpoints is missing", Hint: "for example: endpoints: [10.0.0.1:2379]"}
	case l.Key == "":
		return &Error{Msg: "lock.key is missing", Hint: "the key that the real clients lock; the audit derives canary keys of its own from it"}
	case l.TTL == 0:
		return &Error{Msg: "lock.ttl is missing", Hint: "the lease that the real clients ask for, for example: ttl: 10s"}
	case l.TTL < time.Millisecond || l.TTL > 24*time.Hour:
		return &Error{Msg: fmt.Sprintf("lock.ttl %s is out of range", l.TTL), Hint: "1ms to 24h"}
	case l.Takeover < 0 || l.Takeover > 24*time.Hour:
		return &Error{Msg: fmt.Sprintf("lock.takeover %s is out of range", l.Takeover), Hint: "the longest time without a holder that is accepted after a crash, up to 24h"}
	case l.Purpose != Correctness && l.Purpose != Efficiency:
		return &Error{Msg: fmt.Sprintf("lock.purpose %q is unknown", l.Purpose), Hint: "correctness (the lock protects data) or efficiency (it saves work)"}
	}
	for _, e := range l.Endpoints {
		if err := validEndpoint(e); err != nil {
			return err
		}
	}
	if l.TLS != nil && (l.TLS.CertFile == "") != (l.TLS.KeyFile == "") {
		return &Error{Msg: "lock.tls names only one of cert and key", Hint: "mutual TLS needs both"}
	}
	return nil
}

// validEndpoint accepts host:port and scheme://host:port.
func validEndpoint(e string) error {
	bad := &Error{Msg: fmt.Sprintf("endpoint %q is not host:port", e), Hint: "for example 10.0.0.1:2379, [fd00::1]:2379 or https://etcd-1:2379"}
	host := e
	if strings.Contains(e, "://") {
		u, err := url.Parse(e)
		if err != nil || u.Host == "" || (u.Path != "" && u.Path != "/") {
			return bad
		}
		host = u.Host
	}
	name, port, err := net.SplitHostPort(host)
	if err != nil || name == "" || port == "" {
		return bad
	}
	return nil
}

func (r Resource) validate() error {
	if r.Kind == "" {
		return &Error{Msg: "resource.kind is missing", Hint: "for example: kind: http"}
	}
	if r.URL != "" {
		if u, err := url.Parse(r.URL); err != nil || u.Scheme == "" || u.Host == "" {
			return &Error{Msg: fmt.Sprintf("resource.url %q is not a URL", r.URL), Hint: "for example http://ledger:8080/entries/{row}"}
		}
	}
	return nil
}

func (p *Plan) validateNodes() error {
	seen := map[string]bool{}
	for _, n := range p.Nodes {
		if !nodeName.MatchString(n.Name) {
			return &Error{Msg: fmt.Sprintf("node name %q is not a name", n.Name), Hint: "lower-case letters, digits, dot, dash and underscore"}
		}
		if seen[n.Name] {
			return &Error{Msg: fmt.Sprintf("node %q is named twice", n.Name)}
		}
		seen[n.Name] = true
		if len(n.Roles) == 0 {
			return &Error{Msg: fmt.Sprintf("node %q has no roles", n.Name), Hint: "roles: [client], [lock] or [resource]"}
		}
		for _, r := range n.Roles {
			if !slices.Contains([]Role{RoleClient, RoleLock, RoleResource}, r) {
				return &Error{Msg: fmt.Sprintf("node %q has the unknown role %q", n.Name, r), Hint: "roles are client, lock and resource"}
			}
		}
		if err := n.validateProcess(); err != nil {
			return err
		}
	}
	if len(p.ClientNodes()) == 0 {
		return &Error{Msg: "no node has the role client", Hint: "the audit needs at least one node on which lock clients can run, better two"}
	}
	return nil
}
