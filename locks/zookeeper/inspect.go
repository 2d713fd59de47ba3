package zookeeper

import (
	"context"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/locks"
)

// Inspect implements locks.Driver. It only reads.
func (Driver) Inspect(ctx context.Context, t locks.Target) (facts.Deployment, error) {
	return facts.Deployment{}, nil
}
