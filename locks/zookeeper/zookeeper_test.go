package zookeeper_test

import (
	"os"
	"testing"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/locktest"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/locks/zookeeper"
)

func TestMain(m *testing.M) {
	if locktest.Child(zookeeper.Driver{}) {
		return
	}
	os.Exit(m.Run())
}

func start(tb testing.TB) (locks.Target, locktest.Server) {
	s := servers.StartZooKeeper(tb, servers.ZooKeeper{})
	return locks.Target{Backend: "zookeeper", Endpoints: []string{s.Endpoint}}, s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	locktest.Run(t, locktest.Subject{Driver: zookeeper.Driver{}, Start: start})
}
