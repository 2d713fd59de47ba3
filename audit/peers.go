package audit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/probes"
)

// lookup turns a host's name into addresses.
type lookup func(ctx context.Context, host string) ([]netip.Addr, error)

func resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

var errLater = errors.New("the name is looked up when the audit runs")

// unresolved is the lookup of a dry run, which asks nobody.
func unresolved(context.Context, string) ([]netip.Addr, error) { return nil, errLater }

// peers fills in where the lock service and the resource are. It is all of the
// service or nothing: a server that was left out of a cut would undo it.
func peers(ctx context.Context, p *plan.Plan, params *probes.Params, find lookup) {
	var err error
	params.PeersUnknown = ""
	defer func() { params.PeersLater = errors.Is(err, errLater) }()
	if params.LockPeers, params.LockPorts, err = addresses(ctx, p.Lock.Endpoints, find); err != nil {
		params.PeersUnknown = err.Error()
		return
	}
	if err := behindSentinels(p, params); err != nil {
		params.LockPeers, params.PeersUnknown = nil, err.Error()
		return
	}
	if p.Resource == nil {
		return
	}
	endpoints := p.Resource.Endpoints
	if p.Resource.URL != "" {
		endpoints = []string{strings.ReplaceAll(p.Resource.URL, "{row}", "row")}
	}
	if params.ResourcePeers, params.ResourcePorts, err = addresses(ctx, endpoints, find); err != nil {
		// Whether the two can be told apart is then not known either.
		params.LockPeers, params.PeersUnknown = nil, err.Error()
	}
}

// behindSentinels adds the ports of the servers themselves where the endpoints are Redis
// Sentinels: a cut that left them out would part nobody from the lock.
func behindSentinels(p *plan.Plan, params *probes.Params) error {
	if name, _ := p.Lock.Options["sentinel"].(string); name == "" {
		return nil
	}
	found := false
	for _, n := range p.Nodes {
		if n.Has(plan.RoleLock) && n.Process.Port != 0 {
			params.LockPorts, found = append(params.LockPorts, n.Process.Port), true
		}
	}
	if !found {
		return errors.New("the endpoints are Sentinels, and no lock node says on which port Redis itself listens (nodes: process: {port: 6379})")
	}
	slices.Sort(params.LockPorts)
	params.LockPorts = slices.Compact(params.LockPorts)
	return nil
}

func addresses(ctx context.Context, endpoints []string, find lookup) (ips []string, ports []int, err error) {
	for _, e := range endpoints {
		host, port, err := hostPort(e)
		if err != nil {
			return nil, nil, err
		}
		found := []netip.Addr{}
		if ip, err := netip.ParseAddr(host); err == nil {
			found = append(found, ip)
		} else if found, err = find(ctx, host); err != nil {
			return nil, nil, fmt.Errorf("resolve %s: %w", host, err)
		}
		for _, ip := range found {
			if ip = ip.Unmap(); ip.IsLoopback() {
				return nil, nil, fmt.Errorf("%s is a loopback address, and no partition comes between a node and itself", host)
			}
			ips = append(ips, ip.String())
		}
		ports = append(ports, port)
	}
	slices.Sort(ips)
	slices.Sort(ports)
	return slices.Compact(ips), slices.Compact(ports), nil
}

// hostPort reads host:port and scheme://host:port/…
func hostPort(endpoint string) (host string, port int, err error) {
	if strings.Contains(endpoint, "://") {
		u, err := url.Parse(endpoint)
		if err != nil {
			return "", 0, fmt.Errorf("read endpoint: %w", err)
		}
		endpoint = u.Host
		if u.Port() == "" {
			usual := "443"
			if u.Scheme == "http" {
				usual = "80"
			}
			endpoint = net.JoinHostPort(u.Hostname(), usual)
		}
	}
	host, number, err := net.SplitHostPort(endpoint)
	if err != nil {
		return "", 0, fmt.Errorf("read endpoint %q: %w", endpoint, err)
	}
	if port, err = strconv.Atoi(number); err != nil {
		return "", 0, fmt.Errorf("read endpoint %q: port: %w", endpoint, err)
	}
	return host, port, nil
}
