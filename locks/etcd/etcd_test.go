package etcd_test

import (
	"os"
	"testing"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/etcd"
	"github.com/lockaudit/lockaudit/locks/locktest"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
)

func TestMain(m *testing.M) {
	if servers.Child() || locktest.Child(etcd.Driver{}) {
		return
	}
	os.Exit(m.Run())
}

func start(tb testing.TB) (locks.Target, locktest.Server) {
	s := servers.StartEtcd(tb)
	return locks.Target{Backend: "etcd", Endpoints: []string{s.Endpoint}}, s
}

func TestConformance(t *testing.T) {
	locktest.Run(t, locktest.Subject{Driver: etcd.Driver{}, Start: start})
}
