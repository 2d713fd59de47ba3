package postgres_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/resources"
	"github.com/lockaudit/lockaudit/resources/postgres"
)

// TestQuery: a query lists, and cannot change anything.
func TestQuery(t *testing.T) {
	t.Parallel()
	s := servers.NewPostgresTemplate(t).Start(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := postgres.Kind{}.Open(ctx, target(s, `{"create": true}`))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	lister := r.(resources.Lister)
	got, err := lister.Query(ctx, "SELECT 'app-' || c, n FROM (VALUES ('a', 7), ('b', 8)) AS v(c, n) ORDER BY n")
	if err != nil || !slices.Equal(got, []string{"app-a 7", "app-b 8"}) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := lister.Query(ctx, "CREATE TABLE changed ()"); !errors.Is(err, resources.ErrRefused) {
		t.Errorf("a query that changes: %v", err)
	}
	if got, err := lister.Query(ctx, "SELECT to_regclass('changed') IS NULL"); err != nil || !slices.Equal(got, []string{"true"}) {
		t.Errorf("%q, %v", got, err)
	}
}
