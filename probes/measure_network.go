package probes

import (
	"context"
	"fmt"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks"
)

// measureNetwork measures the round trip from each client node to each lock
// server: by connecting, and as the kernel knows it of live connections.
func measureNetwork() Probe {
	// Each connect may cost the server a log line; ten show a slow network, not a
	// rare spike.
	const connects = 10
	return Probe{
		Name:    "measure-network",
		About:   "round trips and their tail from each client node to each lock server",
		Passive: true,
		Explain: func(p Params) []string {
			return []string{
				fmt.Sprintf("%d TCP connects from each client node to each of %d lock servers, closed at once", connects, len(p.LockServers)),
				"a look at the kernel's TCP_INFO of the live connections there",
			}
		},
		Trial: func(ctx context.Context, t *Trial) error {
			a, b, err := t.pair(ctx)
			if err != nil {
				return err
			}
			// Their connections are live ones to look at; a client may connect only
			// when it first has something to ask.
			for _, p := range []*party{a, b} {
				if !p.proc.Can(string(locks.Observe)) {
					continue
				}
				if _, _, err := p.look(ctx, true); err != nil {
					return err
				}
			}
			for _, node := range t.clientNodes() {
				t.step("round trips from " + node)
				for _, peer := range t.LockServers {
					t.measure(node, func() (history.Sample, error) { return t.Stage.Connects(ctx, node, peer, connects) })
					t.measure(node, func() (history.Sample, error) { return t.Stage.Sockets(ctx, node, peer) })
				}
			}
			return ctx.Err()
		},
	}
}

// clientNodes are the nodes of both clients; one may carry both.
func (p Params) clientNodes() []string {
	if p.NodeA == p.NodeB {
		return []string{p.NodeA}
	}
	return []string{p.NodeA, p.NodeB}
}

// measure records one measurement on a node. That it failed is part of the
// record: a judge must not take a node that was not measured for a quiet one.
func (t *Trial) measure(node string, take func() (history.Sample, error)) {
	e := history.Event{Actor: "agent", Node: node, Op: history.OpMeasure, Type: history.Invoke}
	e.Call = t.record(e).Seq
	sample, err := take()
	if err != nil {
		e.Type, e.Err = history.Info, err.Error()
	} else {
		e.Type, e.Sample = history.OK, &sample
	}
	t.record(e)
}
