package zookeeper_test

import (
	"errors"
	"testing"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/resources"
	"github.com/lockaudit/lockaudit/resources/resourcetest"
	"github.com/lockaudit/lockaudit/resources/zookeeper"
)

func start(tb testing.TB) (resources.Target, resourcetest.Server) {
	s := servers.StartZooKeeper(tb, servers.ZooKeeper{})
	return resources.Target{Kind: "zookeeper", Endpoints: []string{s.Endpoint}}, s
}

func TestConformance(t *testing.T) {
	resourcetest.Run(t, resourcetest.Subject{Kind: zookeeper.Kind{}, Start: start})
}

// TestAccess: rows of one user are refused to another, and the refusal is definite.
func TestAccess(t *testing.T) {
	target, _ := start(t)
	target.Username, target.Password = "app", "secret"
	owner, err := zookeeper.Kind{}.Open(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	e := resources.Entry{Row: "s/row", Token: history.OrderedToken(7), Value: "v", OpID: "1"}
	if _, err := owner.Write(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	target.Password = "guess"
	stranger, err := zookeeper.Kind{}.Open(t.Context(), target)
	if err == nil {
		defer stranger.Close()
		_, err = stranger.Write(t.Context(), e)
	}
	if !errors.Is(err, resources.ErrRefused) {
		t.Errorf("a stranger: %v", err)
	}
}
