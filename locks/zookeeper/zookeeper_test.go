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
	for _, c := range locktest.Checks() { // each mostly waits, with a server of its own
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			if err := c.Try(t, locktest.Subject{Driver: zookeeper.Driver{}, Start: start}); err != nil {
				t.Error(err)
			}
		})
	}
}
