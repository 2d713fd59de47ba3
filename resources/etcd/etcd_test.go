package etcd_test

import (
	"os"
	"testing"

	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/resources"
	"github.com/lockaudit/lockaudit/resources/etcd"
	"github.com/lockaudit/lockaudit/resources/resourcetest"
)

func TestMain(m *testing.M) {
	if servers.Child() {
		return
	}
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	resourcetest.Run(t, resourcetest.Subject{Kind: etcd.Kind{}, Start: func(tb testing.TB) (resources.Target, resourcetest.Server) {
		s := servers.StartEtcd(tb)
		return resources.Target{Kind: "etcd", Endpoints: []string{s.Endpoint}}, s
	}})
}
