// Package all lists the kinds of protected resource.
package all

import (
	"github.com/lockaudit/lockaudit/resources"
	"github.com/lockaudit/lockaudit/resources/etcd"
	"github.com/lockaudit/lockaudit/resources/http"
	"github.com/lockaudit/lockaudit/resources/postgres"
	"github.com/lockaudit/lockaudit/resources/redis"
	"github.com/lockaudit/lockaudit/resources/zookeeper"
)

// Kinds returns one of each kind.
func Kinds() []resources.Kind {
	return []resources.Kind{etcd.Kind{}, http.Kind{}, postgres.Kind{}, redis.Kind{}, zookeeper.Kind{}}
}
