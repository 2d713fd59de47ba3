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
	k.servers = k.lab.servers(k.locklab, program)
	if err := writeConfigs(k.servers); err != nil {
		return err
	}
	var started []server
	for i, s := range k.servers {
		if s.late {
			if err := k.awaitAll(ctx, started, step); err != nil {
				return err
			}
			started = nil
		}
		step("start " + s.name)
		if err := k.startServer(s); err != nil {
			return err
		}
		started = k.servers[i-len(started) : i+1]
	}
	return k.awaitAll(ctx, started, step)
}

func (k *keeper) awaitAll(ctx context.Context, servers []server, step func(string)) error {
	for _, s := range servers {
		step("wait for " + s.name)
		if err := k.await(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (k *keeper) startServer(s server) error {
	cmd, out, err := k.command(s.name, s.argv)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	c, err := k.reaper.start(k.net[s.node.Name], cmd)
	if err != nil {
		return err
	}
	k.mu.Lock()
	k.children[s.name] = c
	k.mu.Unlock()
	go func() {
		<-c.done
		k.note("%s %s", s.name, c.ending())
	}()
	return nil
}

// await returns once the server does its work, or with what is wrong.
func (k *keeper) await(ctx context.Context, s server) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := k.check(ctx, s)
		if err == nil || errors.Is(err, errEnded) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w", s.name, ctx.Err(), err)
		}
	}
}

// errEnded: a server's process is gone.
var errEnded = errors.New("server ended")

func (k *keeper) check(ctx context.Context, s server) error {
	k.mu.Lock()
	c := k.children[s.name]
	k.mu.Unlock()
	err := k.prober.check(ctx, k.lab, s)
	// A server that an audit has killed, and started again, does its work.
	if err != nil && !c.running() {
		return fmt.Errorf("check %s: %w: %s%s", s.name, errEnded, c.ending(), k.lastWords(s.name))
	}
	return err
}

// health returns nil if every server of the lab does its work.
func (k *keeper) health(ctx context.Context) error {
	var errs []error
	for _, s := range k.servers {
		errs = append(errs, k.check(ctx, s))
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
