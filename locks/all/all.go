// Package all lists the lock backends.
package all

import (
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/etcd"
	"github.com/lockaudit/lockaudit/locks/nats"
	"github.com/lockaudit/lockaudit/locks/postgres"
	"github.com/lockaudit/lockaudit/locks/redis"
	"github.com/lockaudit/lockaudit/locks/redlock"
	"github.com/lockaudit/lockaudit/locks/zookeeper"
)

// Drivers returns one driver of each backend.
func Drivers() []locks.Driver {
	return []locks.Driver{etcd.Driver{}, nats.Driver{}, postgres.Driver{}, redis.Driver{}, redlock.Driver{}, zookeeper.Driver{}}
}
