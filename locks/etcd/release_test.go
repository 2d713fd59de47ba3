package etcd_test

import (
	"context"
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/etcd"
)

// TestReleaseProvesTheHold: when somebody has deleted the key and the client has
// not noticed, its release must say lost. Mutex.Unlock would say ok.
func TestReleaseProvesTheHold(t *testing.T) {
	target, _ := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := etcd.Driver{}.Open(ctx, target)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	grant, err := c.Acquire(ctx, "k", time.Minute, 0)
	if err != nil {
		t.Fatal(err)
	}
	operator, err := clientv3.New(clientv3.Config{Endpoints: target.Endpoints, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer operator.Close()
	gone, err := operator.Delete(ctx, "k/", clientv3.WithPrefix())
	if err != nil || gone.Deleted != 1 {
		t.Fatalf("delete the lock's key: %v, %v", gone, err)
	}
	if err := c.Release(ctx, grant); !errors.Is(err, locks.ErrLost) {
		t.Errorf("release of a lock whose key is gone: %v, want lost", err)
	}
}
