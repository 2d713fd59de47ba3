package redis_test

import (
	"testing"

	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/resources"
	"github.com/lockaudit/lockaudit/resources/redis"
	"github.com/lockaudit/lockaudit/resources/resourcetest"
)

func TestConformance(t *testing.T) {
	resourcetest.Run(t, resourcetest.Subject{Kind: redis.Kind{}, Start: func(tb testing.TB) (resources.Target, resourcetest.Server) {
		s := servers.StartRedis(tb)
		return resources.Target{Kind: "redis", Endpoints: []string{s.Endpoint}}, s
	}})
}
