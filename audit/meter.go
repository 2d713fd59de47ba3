package audit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/measure"
	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/probes"
)

func (s *stage) measure(ctx context.Context, node string, kind measure.Kind, params, result any) error {
	conn, err := s.node(ctx, node)
	if err != nil {
		return err
	}
	return conn.Measure(ctx, kind, params, result)
}

func (s *stage) sample(ctx context.Context, node string, kind measure.Kind, params any) (history.Sample, error) {
	var out history.Sample
	err := s.measure(ctx, node, kind, params, &out)
	out.Node = node
	return out, err
}

// Pauses implements probes.Meter.
func (s *stage) Pauses(ctx context.Context, node string, d time.Duration) (history.Sample, error) {
	return s.sample(ctx, node, measure.KindPauses, measure.Pauses{For: d})
}

// OwnStops implements probes.Meter.
func (s *stage) OwnStops(ctx context.Context, node string, d time.Duration) ([]history.Sample, error) {
	selector, err := s.plan.Signals.Process.Selector()
	if err != nil {
		return nil, fmt.Errorf("encode signals.process: %w", err)
	}
	var out []history.Sample
	err = s.measure(ctx, node, measure.KindStops, measure.Stops{Target: selector, For: d, GCLog: s.plan.Signals.GCLog}, &out)
	return out, err
}

// Connects implements probes.Meter.
func (s *stage) Connects(ctx context.Context, node, peer string, count int) (history.Sample, error) {
	return s.sample(ctx, node, measure.KindRTT, measure.RTT{Peer: peer, Count: count})
}

// Sockets implements probes.Meter.
func (s *stage) Sockets(ctx context.Context, node, peer string) (history.Sample, error) {
	return s.sample(ctx, node, measure.KindSockets, measure.Sockets{Peer: peer})
}

// Metrics implements probes.Meter. A plan's URL says where it leads, not from
// where: the node whose client fails to acquire is asked first, then the other.
func (s *stage) Metrics(ctx context.Context, url string) (probes.Page, error) {
	failed := errors.New("fetch metrics")
	for _, node := range clientNodes(s.schedule.Params) {
		var page measure.Page
		err := s.measure(ctx, node, measure.KindFetch, measure.Fetch{URL: url}, &page)
		if err != nil {
			failed = fmt.Errorf("%w; from %s: %w", failed, node, err)
			continue
		}
		text, err := page.Text()
		return probes.Page{Status: page.Status, ContentType: page.ContentType, Text: text}, err
	}
	return probes.Page{}, failed
}

// WallClock implements probes.Meter.
func (s *stage) WallClock(ctx context.Context, node string) (history.Clock, error) {
	conn, err := s.node(ctx, node)
	if err != nil {
		return history.Clock{}, err
	}
	o, err := conn.Clock(ctx)
	return history.Clock{Ahead: o.Ahead, Error: o.Error}, err
}

func clientNodes(p probes.Params) []string {
	if p.NodeA == p.NodeB {
		return []string{p.NodeB}
	}
	return []string{p.NodeB, p.NodeA}
}

// LogSince implements probes.Meter.
func (s *stage) LogSince(ctx context.Context, mark string) ([]string, string, error) {
	log := s.plan.Signals.Log
	if log == nil {
		return nil, "", errors.New("read log: the plan names none")
	}
	node := log.Node
	if node == "" {
		node = s.schedule.Params.NodeB
	}
	var out measure.Lines
	err := s.measure(ctx, node, measure.KindLog, measure.Log{File: log.File, Unit: log.Unit, From: mark}, &out)
	switch {
	case errors.Is(err, measure.ErrRotated):
		return nil, "", fmt.Errorf("%w: %w", probes.ErrRotated, err)
	case err != nil:
		return nil, "", err
	}
	if out.Cut {
		return nil, "", fmt.Errorf("read log %s: it grows faster than it can be read", log)
	}
	return out.Lines, out.Mark, nil
}

// observed fills in what the measuring probes must know of the plan.
func observed(p *plan.Plan, to *probes.Params) {
	to.MeasureFor = p.MeasureFor
	to.Metrics = p.Signals.Metrics
	if !p.Signals.Process.IsZero() {
		to.Process = p.Signals.Process.String()
	}
	if p.Signals.Log != nil {
		to.LogFile = p.Signals.Log.String()
	}
	for _, e := range p.Lock.Endpoints {
		if host, port, err := hostPort(e); err == nil { // plan.validate has seen to its form
			to.LockServers = append(to.LockServers, net.JoinHostPort(host, strconv.Itoa(port)))
		}
	}
}
