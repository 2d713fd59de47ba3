package probes

import (
	"context"
	"errors"
	"fmt"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks"
)

// inspectDeployment reads what the lock service says of itself, from where its
// clients live: the auditor may not be able to reach it at all.
func inspectDeployment() Probe {
	return Probe{
		Name:    "inspect-deployment",
		About:   "reads members, quorum, persistence, versions and clocks of the lock service",
		Passive: true,
		Explain: func(p Params) []string {
			return []string{
				fmt.Sprintf("read-only requests to every lock endpoint, from node %s", p.NodeB),
				fmt.Sprintf("asks the agents of %v for the time of day", p.clockReaders()),
			}
		},
		Trial: func(ctx context.Context, t *Trial) error {
			observer, err := t.party(ctx, "observer")
			if err != nil {
				return err
			}
			if !observer.proc.Can(string(locks.Inspect)) {
				return fmt.Errorf("%w: the lock client cannot inspect", ErrSkip)
			}
			t.step("inspect the lock service")
			callCtx, cancel := context.WithTimeout(ctx, 4*callLimit)
			defer cancel()
			reply := observer.proc.Conn().Do(callCtx, clients.Request{Op: clients.OpInspect})
			if reply.Type != history.OK || reply.Answer == nil || reply.Answer.Facts == nil {
				return outcome("inspect the lock service", reply)
			}
			if err := t.Stage.Facts(*reply.Answer.Facts); err != nil {
				return err
			}
			t.step("compare the servers' clocks")
			return errors.Join(t.memberClocks(*reply.Answer.Facts), t.nodeClocks(ctx))
		},
	}
}
