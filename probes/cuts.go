package probes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// partition is the fault's kind.
const partition = "partition"

// cuts are the partitions that a script has in effect. heal belongs into a defer,
// so that they end on every way out; each has its own deadline besides.
type cuts struct {
	t    *Trial
	open []openCut
	// lost are the packets that vanished in those that were healed.
	lost int
}

type openCut struct{ kind, node, target, id string }

// cut puts a partition into effect on a node. target is whose network it is: the
// name of a client, or of the node itself.
func (c *cuts) cut(ctx context.Context, node, target string, cut Cut) error {
	f := history.Fault{Kind: cut.kind(), Node: node, Target: target, For: cut.For}
	fault, err := c.t.inject(ctx, f, func(ctx context.Context) (history.Fault, error) {
		return c.t.Stage.Partition(ctx, node, cut)
	})
	if err != nil {
		return fmt.Errorf("%s %s: %w", cut.kind(), node, err)
	}
	c.open = append(c.open, openCut{cut.kind(), node, target, fault.ID})
	return nil
}

// heal ends every partition that is still open, also when the audit is being
// stopped, and whatever happens to another one of them.
func (c *cuts) heal(ctx context.Context) error {
	var errs []error
	for _, o := range c.open {
		errs = append(errs, c.healOne(ctx, o))
	}
	c.open = nil
	return errors.Join(errs...)
}

func (c *cuts) healOne(ctx context.Context, o openCut) error {
	f := history.Fault{ID: o.id, Kind: o.kind, Node: o.node, Target: o.target}
	fault, err := c.t.revert(ctx, f, func(ctx context.Context) (history.Fault, error) {
		fault, err := c.t.Stage.Heal(ctx, o.node, o.id)
		fault.Kind = o.kind
		return fault, err
	})
	if err != nil {
		return fmt.Errorf("heal %s: %w", o.node, err)
	}
	c.lost += fault.Dropped
	return nil
}

// bit fails with ErrPremise if no packet was lost: whatever the trial shows then, it
// is not what a partition does.
func (c *cuts) bit() error {
	if c.lost == 0 {
		return fmt.Errorf("%w: the partition lost no packet", ErrPremise)
	}
	return nil
}

// offLock is the cut between a client's node and the lock service, which leaves the
// resource reachable where the probe needs lockApart.
func (t *Trial) offLock(limit time.Duration) Cut {
	return Cut{Peers: t.LockPeers, Ports: t.LockPorts, For: limit}
}

// ofA is a cut of client A's packets alone, where that is possible. On a node of
// several clients nothing else will do.
func (t *Trial) ofA(c Cut) Cut {
	c.Client, c.Alone = "a", t.NodeA == t.NodeB
	return c
}
