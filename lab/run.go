package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// startServers starts every server on its node and waits until all do their work.
func (k *keeper) startServers(ctx context.Context, program string, step func(string)) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	servers := k.lab.servers(k.locklab, program)
	for _, s := range servers {
		step("start " + s.node.Name)
		if err := k.startServer(s); err != nil {
			return err
		}
	}
	for _, s := range servers {
		step("wait for " + s.node.Name)
		if err := k.await(ctx, s.node); err != nil {
			return err
		}
	}
	return nil
}

func (k *keeper) startServer(s server) error {
	cmd, out, err := k.command(s.node.Name, s.argv)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	c, err := k.reaper.start(k.net[s.node.Name], cmd)
	if err != nil {
		return err
	}
	k.mu.Lock()
	k.children[s.node.Name] = c
	k.mu.Unlock()
	go func() {
		<-c.done
		k.note("%s %s", s.node.Name, c.ending())
	}()
	return nil
}

// await returns once the node's server does its work, or with what is wrong.
func (k *keeper) await(ctx context.Context, n Node) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := k.check(ctx, n)
		if err == nil || errors.Is(err, errEnded) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w", n.Name, ctx.Err(), err)
		}
	}
}

// errEnded: a server's process is gone.
var errEnded = errors.New("server ended")

func (k *keeper) check(ctx context.Context, n Node) error {
	k.mu.Lock()
	c := k.children[n.Name]
	k.mu.Unlock()
	err := k.prober.check(ctx, k.lab, n)
	// A server that an audit has killed, and started again, does its work.
	if err != nil && !c.running() {
		return fmt.Errorf("check %s: %w: %s%s", n.Name, errEnded, c.ending(), k.lastWords(n.Name))
	}
	return err
}

// health returns nil if every server of the lab does its work.
func (k *keeper) health(ctx context.Context) error {
	var errs []error
	for _, n := range k.lab.Nodes() {
		if n.Role != RoleClient {
			errs = append(errs, k.check(ctx, n))
		}
	}
	return errors.Join(errs...)
}

// lastWords is the last line of a server's log, for an error message.
func (k *keeper) lastWords(name string) string {
	data, err := os.ReadFile(filepath.Join(k.place.logs(), name+".log"))
	data = bytes.TrimSpace(data)
	if err != nil || len(data) == 0 {
		return ""
	}
	return ": " + string(data[bytes.LastIndexByte(data, '\n')+1:])
}
