package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/lockaudit/lockaudit/locks"
	lockall "github.com/lockaudit/lockaudit/locks/all"
)

// service is a URL scheme under which init finds a lock service.
type service struct {
	scheme  string
	backend string // of the driver that looks
	port    string // when the URL has none
	tls     bool
	// endpoint is the form of an endpoint in a plan.
	endpoint func(hostPort string, tls bool) string
}

func services() []service {
	return []service{
		{"redis", "redis", "6379", false, bare},
		{"rediss", "redis", "6379", true, bare},
		{"redis+sentinel", "redis", "26379", false, bare},
		{"rediss+sentinel", "redis", "26379", true, bare},
		{"etcd", "etcd", "2379", false, web},
		{"etcds", "etcd", "2379", true, web},
		{"postgres", "postgres", "5432", false, plainHost},
	}
}

// secure is the scheme that speaks TLS, and plain the one that does not.
func (s service) secure() string {
	if name, ok := strings.CutPrefix(s.plain(), "redis"); ok {
		return "rediss" + name
	}
	return s.plain() + "s"
}

func (s service) plain() string {
	if name, ok := strings.CutPrefix(s.scheme, "rediss"); ok {
		return "redis" + name
	}
	if s.backend == "redis" {
		return s.scheme
	}
	return strings.TrimSuffix(s.scheme, "s")
}

func bare(hostPort string, tls bool) string {
	if tls {
		return "rediss://" + hostPort
	}
	return hostPort
}

// plainHost: whether TLS is spoken is not part of the endpoint.
func plainHost(hostPort string, _ bool) string { return hostPort }

func web(hostPort string, tls bool) string {
	if tls {
		return "https://" + hostPort
	}
	return "http://" + hostPort
}

func schemes() string {
	var out []string
	for _, s := range services() {
		out = append(out, s.scheme+"://")
	}
	return strings.Join(out, ", ")
}

// source is a URL that init was given, taken apart.
type source struct {
	service  service
	target   locks.Target
	surveyor locks.Surveyor
	// shown is the URL without its password.
	shown string
	// passwordInURL: it is on the command line, where every user of the machine sees it.
	passwordInURL bool
}

// parseSource takes SCHEME://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]…] apart.
// url.Parse knows no list of hosts.
func parseSource(text string) (source, error) {
	scheme, rest, found := strings.Cut(text, "://")
	i := slices.IndexFunc(services(), func(s service) bool { return s.scheme == scheme })
	if !found || i < 0 {
		return source{}, exit{exitUsage, hinted{fmt.Errorf("read URL: %q is none of %s", shownURL(text), schemes()), "for example redis://10.0.0.1:6379 or etcd://10.0.0.1:2379,10.0.0.2:2379"}}
	}
	s := source{service: services()[i]}
	for _, d := range lockall.Drivers() {
		if surveyor, ok := d.(locks.Surveyor); ok && d.Name() == s.service.backend {
			s.surveyor = surveyor
		}
	}
	if s.surveyor == nil {
		return source{}, fmt.Errorf("read URL: the driver for %s cannot look for locks", s.service.backend)
	}
	s.target.Backend = s.service.backend
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		if err := s.credentials(rest[:at]); err != nil {
			return source{}, err
		}
		rest = rest[at+1:]
	}
	hosts, path, _ := strings.Cut(rest, "/")
	if err := s.behind(path); err != nil {
		return source{}, err
	}
	for host := range strings.SplitSeq(hosts, ",") {
		hostPort, err := withPort(host, s.service.port)
		if err != nil {
			return source{}, err
		}
		s.target.Endpoints = append(s.target.Endpoints, s.service.endpoint(hostPort, s.service.tls))
	}
	if len(s.target.Endpoints) > 1 && s.service.backend == "redis" && !s.service.sentinel() {
		return source{}, exit{exitUsage, hinted{fmt.Errorf("read URL: %d addresses of Redis", len(s.target.Endpoints)), "one of them is enough: the others of its deployment are found from there"}}
	}
	s.shown = scheme + "://" + hosts
	return s, nil
}

// behind reads what follows the address.
func (s *source) behind(path string) error {
	switch {
	case s.service.backend == "postgres":
		return s.database(path)
	case s.service.sentinel():
		return s.master(path)
	case path == "", path == "0" && s.service.backend == "redis":
		return nil
	}
	return exit{exitUsage, hinted{fmt.Errorf("read URL: %q is behind the address", "/"+path), "the address alone; the lock client uses database 0 of a Redis"}}
}

// database is the path of a PostgreSQL URL, with sslmode as its only parameter.
func (s *source) database(path string) error {
	name, query, _ := strings.Cut(path, "?")
	name, err := url.PathUnescape(name)
	switch {
	case err != nil || strings.Contains(name, "/"):
		return usage("read URL: %q is no name of a database", name)
	case s.target.Username == "":
		return exit{exitUsage, hinted{errors.New("read URL: PostgreSQL asks for a user"), "postgres://USER@HOST/DATABASE, and the password in " + defaultPasswordVar}}
	}
	if name != "" {
		options, err := json.Marshal(map[string]string{"database": name})
		if err != nil {
			return fmt.Errorf("read URL: %w", err)
		}
		s.target.Options = options
	}
	switch query {
	case "", "sslmode=disable":
	case "sslmode=verify-full":
		s.service.tls = true
		s.target.TLS = &locks.TLS{}
	default:
		return exit{exitUsage, hinted{fmt.Errorf("read URL: %q is not known here", "?"+query), "?sslmode=verify-full, or --ca: a certificate is looked at, or there is no TLS"}}
	}
	return nil
}

func (s *source) credentials(text string) error {
	name, password, has := strings.Cut(text, ":")
	var err error
	if s.target.Username, err = url.PathUnescape(name); err == nil {
		s.target.Password, err = url.PathUnescape(password)
	}
	if err != nil {
		return exit{exitUsage, hinted{fmt.Errorf("read URL: user or password is not written as in a URL"), "write % as %25, or give the password in " + defaultPasswordVar}}
	}
	s.passwordInURL = has && password != ""
	return nil
}

func withPort(host, port string) (string, error) {
	bad := exit{exitUsage, hinted{fmt.Errorf("read URL: %q is not host or host:port", host), "for example 10.0.0.1:6379 or [fd00::1]:6379"}}
	if h, p, err := net.SplitHostPort(host); err == nil {
		if h == "" || p == "" {
			return "", bad
		}
		return host, nil
	}
	bracketed := strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]")
	if host == "" || strings.ContainsAny(host, " ?#") || strings.Contains(host, ":") && !bracketed {
		return "", bad
	}
	return host + ":" + port, nil
}

// shownURL is what may be printed of a URL that could not be read.
func shownURL(text string) string {
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		return "…" + text[i:]
	}
	return text
}

// defaultPasswordVar is the environment variable that holds the service's password.
const defaultPasswordVar = "LOCKAUDIT_PASSWORD"

// password takes the password from the environment, unless the URL has one. It returns
// the variable that the plan names; empty: there is no password.
func (s *source) password(variable string) string {
	if value, ok := os.LookupEnv(variable); ok && !s.passwordInURL {
		s.target.Password = value
	}
	if s.target.Password == "" {
		return ""
	}
	return variable
}
