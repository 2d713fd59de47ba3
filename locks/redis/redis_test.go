package redis_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/locktest"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/locks/redis"
)

func TestMain(m *testing.M) {
	if locktest.Child(redis.Driver{}) {
		return
	}
	os.Exit(m.Run())
}

func start(options string) func(testing.TB) (locks.Target, locktest.Server) {
	return func(tb testing.TB) (locks.Target, locktest.Server) {
		s := servers.StartRedis(tb)
		return locks.Target{Backend: "redis", Endpoints: []string{s.Endpoint}, Options: json.RawMessage(options)}, s
	}
}

func TestConformance(t *testing.T) {
	locktest.Run(t, locktest.Subject{Driver: redis.Driver{}, Start: start("")})
}

func TestConformanceWithFencingCounter(t *testing.T) {
	locktest.Run(t, locktest.Subject{Driver: redis.Driver{}, Start: start(`{"fencing_counter": true}`)})
}
