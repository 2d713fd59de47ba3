package audit

import (
	"net/netip"
	"slices"
)

// servers are the servers of a lock service and what has become of them and of
// the links between them.
type servers struct {
	names []string
	down  map[string]bool
	deaf  map[[2]string]bool // the first hears nothing of the second
}

func newServers(names []string) *servers {
	return &servers{names: names, down: map[string]bool{}, deaf: map[[2]string]bool{}}
}

// quorum reports whether some server still has links both ways with a majority,
// itself included: it can lead. Less is asked of a single server, which has no
// majority to lose.
func (s *servers) quorum() bool {
	if len(s.names) < 2 {
		return true
	}
	for _, a := range s.names {
		if s.down[a] {
			continue
		}
		n := 0
		for _, b := range s.names {
			if b == a || !s.down[b] && !s.deaf[[2]string{a, b}] && !s.deaf[[2]string{b, a}] {
				n++
			}
		}
		if n > len(s.names)/2 {
			return true
		}
	}
	return false
}

// votes says whether a lock service decides by a majority of its servers.
func votes(backend string) bool {
	return slices.Contains([]string{"etcd", "nats", "redlock", "zookeeper"}, backend)
}

// clientVotes says whether it is the clients that count the majority, of servers that know
// nothing of each other.
func clientVotes(backend string) bool { return backend == "redlock" }

// covers reports whether one of the peers, addresses and networks, is or contains
// the address.
func covers(peers []string, address string) bool {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	for _, p := range peers {
		if ip, err := netip.ParseAddr(p); err == nil && ip.Unmap() == a.Unmap() {
			return true
		}
		if network, err := netip.ParsePrefix(p); err == nil && network.Contains(a.Unmap()) {
			return true
		}
	}
	return false
}
