package etcd_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/conformance"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/etcd"
)

func TestTargetIsChecked(t *testing.T) {
	for name, endpoints := range map[string][]string{
		"none": nil, "no port": {"localhost"}, "other scheme": {"ftp://a:1"}, "mixed": {"https://a:1", "http://b:1"},
	} {
		if c, err := (etcd.Driver{}).Open(t.Context(), locks.Target{Endpoints: endpoints}); !errors.Is(err, locks.ErrRefused) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}

// TestOneEndpointOfTwoIsEnough, and the inspection says which one is not there.
func TestOneEndpointOfTwoIsEnough(t *testing.T) {
	target, _ := start(t)
	dead := conformance.Address(t)
	target.Endpoints = append([]string{"http://" + dead}, target.Endpoints...)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := etcd.Driver{}.Open(ctx, target)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Acquire(ctx, "k", time.Second, 0); err != nil {
		t.Errorf("acquire: %v", err)
	}
	d, err := etcd.Driver{}.Inspect(ctx, target)
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for _, m := range d.Members {
		if m.Err != "" {
			failed++
			if m.Endpoint != "http://"+dead {
				t.Errorf("%+v failed", m)
			}
		} else if m.Role != "leader" {
			t.Errorf("%+v is no leader", m)
		}
	}
	if failed != 1 || d.Voters != 1 || d.Consensus != "raft" || *d.TLS || d.Auth == nil || *d.Auth || *d.WallClock {
		t.Errorf("%+v", d)
	}
}
