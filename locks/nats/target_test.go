package nats_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/lockaudit/lockaudit/conformance"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/locks/nats"
)

func open(t *testing.T, target locks.Target) locks.Client {
	t.Helper()
	c, err := nats.Driver{}.Open(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func refused(t *testing.T, target locks.Target, words string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if c, err := (nats.Driver{}).Open(ctx, target); err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("%+v: %v, %v, want %q", target, c, err, words)
	}
}

func TestTargetIsChecked(t *testing.T) {
	for name, endpoints := range map[string][]string{
		"none": nil, "no port": {"localhost"}, "other scheme": {"http://a:1"}, "a password in it": {"nats://u:p@a:1"},
	} {
		if c, err := (nats.Driver{}).Open(t.Context(), locks.Target{Endpoints: endpoints}); !errors.Is(err, locks.ErrRefused) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
	for _, o := range []string{`{"bucket": "a.b"}`, `{"replicas": 6}`, `{"replicas": -1}`} {
		target := locks.Target{Endpoints: []string{"127.0.0.1:1"}, Options: json.RawMessage(o)}
		if c, err := (nats.Driver{}).Open(t.Context(), target); !errors.Is(err, locks.ErrRefused) {
			t.Errorf("%s: %v, %v", o, c, err)
		}
	}
}

// TestTLSAndPassword: both are told in the inspection, and what is wrong with them in the
// error.
func TestTLSAndPassword(t *testing.T) {
	certs := servers.NewCerts(t)
	target, _ := start(t, config{User: "app", Password: "secret", Cert: certs.Cert, Key: certs.Key})
	refused(t, target, "unknown authority") // NATS speaks TLS where the server does, asked or not
	wrong := target
	wrong.TLS, wrong.Password = &locks.TLS{CAFile: certs.CA}, "guess"
	refused(t, wrong, "Authorization Violation")
	wrong.TLS, wrong.Password = &locks.TLS{}, "secret"
	refused(t, wrong, "certificate")

	target.TLS = &locks.TLS{CAFile: certs.CA}
	c := open(t, target)
	if _, err := c.Acquire(t.Context(), "k", ttl, 0); err != nil {
		t.Error(err)
	}
	d, err := nats.Driver{}.Inspect(t.Context(), target)
	if err != nil || !*d.TLS || !*d.Auth {
		t.Errorf("%+v, %v", d, err)
	}

	plain, _ := start(t, config{})
	plain.TLS = &locks.TLS{CAFile: certs.CA}
	refused(t, plain, "speaks no TLS")
}

// TestInspect: a bucket of one copy is no consensus, and an endpoint that is not there is
// named.
func TestInspect(t *testing.T) {
	target, _ := start(t, config{})
	d, err := nats.Driver{}.Inspect(t.Context(), target)
	if err != nil || len(d.Unknown) != 1 || !strings.Contains(d.Unknown[0], "no server has it") {
		t.Errorf("without a bucket: %+v, %v", d, err)
	}
	open(t, target)
	dead := conformance.Address(t)
	target.Endpoints = append(target.Endpoints, dead)
	d, err = nats.Driver{}.Inspect(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	if d.Consensus != "" || d.Voters != 1 || *d.TLS || *d.Auth || *d.Evicts || !*d.WallClock || !*d.OrderedTokens || d.MinTTL != ttl || d.Version == "" {
		t.Errorf("%+v", d)
	}
	if m := d.Members[0]; m.Err != "" || m.ID == "" || m.Clock == nil || m.Clock.Abs() > m.ClockError+time.Second {
		t.Errorf("%+v", m)
	}
	if m := d.Members[1]; m.Endpoint != dead || m.Err == "" {
		t.Errorf("%+v", m)
	}
	target.Endpoints = []string{dead}
	if _, err := (nats.Driver{}).Inspect(t.Context(), target); err == nil {
		t.Error("nobody is there, and no error")
	}
}

// TestBucketIsChecked: what is no bucket for locks is refused with the reason.
func TestBucketIsChecked(t *testing.T) {
	off, _ := start(t, config{NoJetStream: true})
	refused(t, off, "JetStream is off")

	target, s := start(t, config{})
	target.Options = nil
	refused(t, target, "bucket not found")
	nc, err := natsgo.Connect("nats://" + s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "locks"}); err != nil {
		t.Fatal(err)
	}
	refused(t, target, "has no TTL")
}

// TestLostRenewalReply: a renewal whose reply was lost has moved the key on, and the hold
// with it; somebody else's entry has not.
func TestLostRenewalReply(t *testing.T) {
	target, s := start(t, config{})
	c := open(t, target)
	nc, err := natsgo.Connect("nats://" + s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), "locks")
	if err != nil {
		t.Fatal(err)
	}
	g, err := c.Acquire(t.Context(), "k", ttl, 0)
	if err != nil {
		t.Fatal(err)
	}
	value := func() jetstream.KeyValueEntry {
		t.Helper()
		e, err := kv.Get(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	if _, err := kv.Update(t.Context(), "k", append(value().Value(), " "+g.Token.ID...), value().Revision()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Renew(t.Context(), g); err != nil {
		t.Errorf("after a renewal whose reply was lost: %v", err)
	}
	holder, err := c.(locks.Observer).Observe(t.Context(), "k")
	if err != nil || !holder.Held || holder.ID != g.Token.ID || holder.Left <= 0 || holder.Left > ttl {
		t.Errorf("%+v, %v, want token %v", holder, err, g.Token)
	}
	if _, err := kv.Update(t.Context(), "k", []byte("of others"), value().Revision()); err != nil {
		t.Fatal(err)
	}
	if err := c.Release(t.Context(), g); !errors.Is(err, locks.ErrLost) {
		t.Errorf("release of another's hold: %v, want %v", err, locks.ErrLost)
	}
	if string(value().Value()) != "of others" {
		t.Error("another's hold is gone")
	}
}
