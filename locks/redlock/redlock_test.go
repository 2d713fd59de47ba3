package redlock_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/conformance"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/locktest"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/locks/redlock"
)

func TestMain(m *testing.M) {
	if locktest.Child(redlock.Driver{}) {
		return
	}
	os.Exit(m.Run())
}

// patient gives a server on a busy machine all the time that it needs: the library's
// default is 50 ms of a lease of a second.
const patient = `{"node_timeout": "20s"}`

// ensemble is several servers as one.
type ensemble []*servers.Server

func (e ensemble) Kill() {
	for _, s := range e {
		s.Kill()
	}
}

func (e ensemble) Stop() (err error) {
	for _, s := range e {
		err = errors.Join(err, s.Stop())
	}
	return err
}

func (e ensemble) Resume() (err error) {
	for _, s := range e {
		err = errors.Join(err, s.Resume())
	}
	return err
}

func start(tb testing.TB, n int, args ...string) (e ensemble, t locks.Target) {
	t = locks.Target{Backend: "redlock", Options: json.RawMessage(patient)}
	for range n {
		s := servers.StartRedis(tb, args...)
		e, t.Endpoints = append(e, s), append(t.Endpoints, s.Endpoint)
	}
	return e, t
}

func subject(options string) locktest.Subject {
	return locktest.Subject{Driver: redlock.Driver{}, Reserve: 0.01, Start: func(tb testing.TB) (locks.Target, locktest.Server) {
		e, target := start(tb, 3)
		target.Options = json.RawMessage(options)
		return target, e
	}}
}

func TestConformance(t *testing.T) { locktest.Run(t, subject(patient)) }

// TestConformanceWithLocalExpiry: what a client does otherwise that heeds Until.
func TestConformanceWithLocalExpiry(t *testing.T) {
	var some []locktest.Check
	for _, c := range locktest.Checks() {
		if strings.Contains(c.Name, "loss") || strings.Contains(c.Name, "renew") || strings.Contains(c.Name, "close") {
			some = append(some, c)
		}
	}
	if len(some) != 3 {
		t.Fatalf("%d checks of the suite are about loss, renew and close", len(some))
	}
	conformance.Run(t, subject(`{"node_timeout": "20s", "local_expiry": true, "fail_fast": true}`), some)
}

// open opens a client that the test closes.
func open(t *testing.T, target locks.Target) locks.Client {
	t.Helper()
	c, err := redlock.Driver{}.Open(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// TestOneServerDiesInMidAcquire: the question is under way to it when it is killed, and
// the others grant.
func TestOneServerDiesInMidAcquire(t *testing.T) {
	e, target := start(t, 5)
	c, other := open(t, target), open(t, target)
	if err := e[2].Stop(); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(300*time.Millisecond, e[2].Kill)
	g, err := c.Acquire(t.Context(), "k", time.Minute, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Acquire(t.Context(), "k", time.Minute, 0); !errors.Is(err, locks.ErrHeld) {
		t.Errorf("acquire a held lock: %v", err)
	}
	if _, err := c.Renew(t.Context(), g); err != nil {
		t.Errorf("renew by four of five: %v", err)
	}
	if h, err := c.(locks.Observer).Observe(t.Context(), "k"); err != nil || !h.Held || h.ID != g.Token.ID {
		t.Errorf("observe: %+v, %v", h, err)
	}
	if err := c.Release(t.Context(), g); err != nil {
		t.Errorf("release by four of five: %v", err)
	}
}

// TestSlowServer: one that does not answer holds an acquire up for the node timeout and
// no longer; without a majority nobody knows.
func TestSlowServer(t *testing.T) {
	e, target := start(t, 3)
	target.Options = json.RawMessage(`{"node_timeout": "1s"}`)
	c := open(t, target)
	if err := e[0].Stop(); err != nil {
		t.Fatal(err)
	}
	// Without the node timeout each call takes the socket's, 10 s: the lease is over before
	// the acquire is, and the context before the release.
	g, err := c.Acquire(t.Context(), "k", 8*time.Second, 0)
	if err != nil {
		t.Fatalf("acquire with one server of three that does not answer: %v", err)
	}
	if _, err := c.Renew(t.Context(), g); err != nil {
		t.Errorf("renew: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context()) // no deadline that the sockets could take
	defer time.AfterFunc(8*time.Second, cancel).Stop()
	if err := c.Release(ctx, g); err != nil {
		t.Errorf("release: %v", err)
	}
	if err := e[1].Stop(); err != nil {
		t.Fatal(err)
	}
	_, err = c.Acquire(t.Context(), "k", time.Minute, 0)
	if err == nil || errors.Is(err, locks.ErrHeld) || errors.Is(err, locks.ErrRefused) {
		t.Errorf("acquire with one server of three: %v", err)
	}
	if h, err := c.(locks.Observer).Observe(t.Context(), "other"); err == nil {
		t.Errorf("one server of three says that nobody holds: %+v", h)
	}
}

// TestOneServerRefuses: a password that one server does not take is a mistake in the plan,
// although the others are a majority.
func TestOneServerRefuses(t *testing.T) {
	e, target := start(t, 2, "--requirepass", "secret")
	e = append(e, servers.StartRedis(t, "--requirepass", "another"))
	target.Endpoints, target.Password = append(target.Endpoints, e[2].Endpoint), "secret"
	c, err := redlock.Driver{}.Open(t.Context(), target)
	if !errors.Is(err, locks.ErrRefused) || !strings.Contains(err.Error(), e[2].Endpoint) {
		t.Errorf("open: %v", err)
	}
	if c != nil {
		_ = c.Close()
	}
}

func TestTLSAndPassword(t *testing.T) {
	certs := servers.NewCerts(t)
	plain := locks.Target{Options: json.RawMessage(patient), Password: "secret"}
	secure := plain
	secure.TLS = &locks.TLS{CAFile: certs.CA}
	for range 3 {
		port := strconv.Itoa(conformance.Port(t))
		s := servers.StartRedis(t, "--requirepass", "secret", "--tls-port", port, "--tls-auth-clients", "no",
			"--tls-cert-file", certs.Cert, "--tls-key-file", certs.Key, "--tls-ca-cert-file", certs.CA)
		plain.Endpoints = append(plain.Endpoints, s.Endpoint)
		secure.Endpoints = append(secure.Endpoints, "127.0.0.1:"+port)
	}
	wrong, none, spoken, unknown := plain, plain, plain, secure
	wrong.Password, none.Password = "guess", ""
	spoken.TLS = secure.TLS
	unknown.TLS = &locks.TLS{} // an authority that this machine does not trust
	for name, c := range map[string]struct {
		target  locks.Target
		ok      bool
		refused bool
	}{
		"plain": {plain, true, false}, "TLS": {secure, true, false},
		"wrong password": {wrong, false, true}, "no password": {none, false, true},
		"TLS where none is spoken": {spoken, false, false}, "unknown authority": {unknown, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := redlock.Driver{}.Open(t.Context(), c.target)
			if c.ok != (err == nil) || c.refused && !errors.Is(err, locks.ErrRefused) {
				t.Fatalf("open: %v", err)
			}
			if err != nil {
				return
			}
			defer got.Close()
			g, err := got.Acquire(t.Context(), "k-"+name, time.Minute, 0)
			if err != nil {
				t.Fatal(err)
			}
			d, err := redlock.Driver{}.Inspect(t.Context(), c.target)
			if err != nil || d.TLS == nil || *d.TLS != (c.target.TLS != nil) || d.Auth == nil || !*d.Auth || len(d.Unknown) > 0 {
				t.Errorf("inspect: %+v, %v", d, err)
			}
			if err := got.Release(t.Context(), g); err != nil {
				t.Error(err)
			}
		})
	}
}
