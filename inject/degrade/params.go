package degrade

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/netns"
)

// Params say what is done to what leaves towards whom.
type Params struct {
	// Peers are addresses and networks, as 10.0.0.1 or fd00::/64.
	Peers []string `json:"peers"`
	// Ports restrict it to packets with one of them at either end.
	Ports []int `json:"ports,omitempty"`
	// Delay is added to each packet, in nanoseconds; Jitter varies it by up to as
	// much in either direction.
	Delay  time.Duration `json:"delay,omitempty"`
	Jitter time.Duration `json:"jitter,omitempty"`
	// Loss, Duplicate and Reorder are shares of the packets in percent. A reordered
	// packet is sent at once and overtakes those that are delayed.
	Loss      float64 `json:"loss,omitempty"`
	Duplicate float64 `json:"duplicate,omitempty"`
	Reorder   float64 `json:"reorder,omitempty"`
	// Rate is a limit in bits a second.
	Rate uint64 `json:"rate,omitempty"`
	// Netns is the network namespace; the default is this process's.
	Netns netns.Name `json:"netns,omitzero"`
	// Protect are endpoints, as 10.0.0.9:22, that are left as they are although a
	// network among the peers covers them. Connections by which this process is
	// ordered about, SSH or another transport, are left anyhow.
	Protect []string `json:"protect,omitempty"`
}

// MaxPeers and maxFilters bound what a packet may have to be compared with.
const (
	MaxPeers   = 256
	maxFilters = 2048
)

// maxDelay is what netem's 32 bits hold, and more than any network has.
const maxDelay = time.Minute

// minRate is a modem's: below it a full-sized packet takes over a second.
const minRate = 9600

// order is Params, checked.
type order struct {
	Params
	peers []netip.Prefix
	kept  []kept
}

// kept is traffic that is left as it is: with an endpoint, or of one connection.
type kept struct {
	far   netip.AddrPort // port 0 is any
	local uint16         // our port of the connection; 0 is any
	said  string
}

// Check says what is wrong with params, as far as that can be told on any machine.
func Check(b []byte) error {
	_, err := decodeParams(b)
	return err
}

func decodeParams(b []byte) (order, error) {
	var o order
	if err := inject.DecodeStrict(b, &o.Params); err != nil {
		return order{}, err
	}
	switch n := len(o.Peers); {
	case n == 0:
		return order{}, errors.New("no peers")
	case n > MaxPeers:
		return order{}, fmt.Errorf("%d peers, at most %d; name networks instead of addresses: %w", n, MaxPeers, inject.ErrRefused)
	}
	for _, s := range o.Peers {
		p, err := parsePeer(s)
		if err != nil {
			return order{}, err
		}
		o.peers = append(o.peers, p)
	}
	for _, port := range o.Ports {
		if port < 1 || port > 65535 {
			return order{}, fmt.Errorf("port %d is not one of 1 to 65535", port)
		}
	}
	if err := o.checkAmounts(); err != nil {
		return order{}, err
	}
	for _, s := range o.Protect {
		k, err := parseProtected(s)
		if err != nil {
			return order{}, err
		}
		for _, p := range o.peers {
			if p.IsSingleIP() && p.Addr() == k.far.Addr() && (k.far.Port() == 0 || len(o.Ports) == 0) {
				return order{}, fmt.Errorf("peer %v is a protected endpoint (%s): %w", p.Addr(), s, inject.ErrRefused)
			}
		}
		o.kept = append(o.kept, k)
	}
	o.keepControl(inject.SSHConnections(), inject.ControlConnections())
	if n := o.filters(); n > maxFilters {
		return order{}, fmt.Errorf("peers times ports make %d filters, at most %d: %w", n, maxFilters, inject.ErrRefused)
	}
	return o, nil
}

// keepControl keeps the connections by which somebody orders this process about: by
// SSH, or by any other transport that is a process above it.
func (o *order) keepControl(ssh, control []inject.SSHConnection) {
	for _, c := range ssh {
		o.kept = append(o.kept, kept{c.Client, c.Local, c.String()})
	}
	for _, c := range control {
		if !slices.Contains(ssh, c) {
			o.kept = append(o.kept, kept{c.Client, c.Local, fmt.Sprintf("the control connection from %v to port %d", c.Client, c.Local)})
		}
	}
}

func (o order) filters() int { return len(o.peers) * max(1, 4*len(o.Ports)) }

func (o order) checkAmounts() error {
	switch {
	case o.Delay < 0 || o.Delay > maxDelay:
		return fmt.Errorf("delay is %v, not between 0 and %v", o.Delay, maxDelay)
	case o.Jitter < 0 || o.Jitter > o.Delay:
		return fmt.Errorf("jitter is %v: it varies the delay, which is %v, and cannot be more", o.Jitter, o.Delay)
	case o.Reorder > 0 && o.Delay == 0:
		return errors.New("reorder without delay: a packet overtakes only those that are delayed")
	case o.Rate > 0 && o.Rate < minRate:
		return fmt.Errorf("rate is %d bit/s, at least %d", o.Rate, minRate)
	case o.Delay == 0 && o.Loss == 0 && o.Duplicate == 0 && o.Rate == 0:
		return errors.New("nothing to do: delay, loss, duplicate or rate is needed")
	}
	for name, share := range map[string]float64{"loss": o.Loss, "duplicate": o.Duplicate, "reorder": o.Reorder} {
		if !(share >= 0 && share <= 100) {
			return fmt.Errorf("%s is %v, not a percentage between 0 and 100", name, share)
		}
	}
	return nil
}

// parsePeer reads an address or a network; an IPv4 address written as IPv6 is the
// IPv4 address that packets carry.
func parsePeer(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("peer %q: not an address or network, as 10.0.0.1 or 10.0.0.0/24; names are not resolved here", s)
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("peer %q: covers more than the addresses of IPv4", s)
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	p = p.Masked()
	if p.Addr().IsLoopback() || p.IsSingleIP() && p.Addr().IsUnspecified() {
		return netip.Prefix{}, fmt.Errorf("peer %q: traffic with oneself does not cross the network: %w", s, inject.ErrRefused)
	}
	return p, nil
}

func parseProtected(s string) (kept, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return kept{far: netip.AddrPortFrom(a.Unmap(), 0), said: "everything with " + s}, nil
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil || ap.Port() == 0 || ap.Addr().Zone() != "" {
		return kept{}, fmt.Errorf("protected endpoint %q is not an address and port, as 10.0.0.9:22", s)
	}
	return kept{far: netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), said: "everything with " + s}, nil
}

// what says what is done, for people.
func (o order) what() string {
	var parts []string
	if o.Delay > 0 {
		s := "delay " + o.Delay.String()
		if o.Jitter > 0 {
			s += " ± " + o.Jitter.String()
		}
		parts = append(parts, s)
	}
	for _, x := range []struct {
		name  string
		share float64
	}{{"loss", o.Loss}, {"duplicate", o.Duplicate}, {"reorder", o.Reorder}} {
		if x.share > 0 {
			parts = append(parts, x.name+" "+strconv.FormatFloat(x.share, 'g', -1, 64)+" %")
		}
	}
	if o.Rate > 0 {
		parts = append(parts, fmt.Sprintf("rate %d bit/s", o.Rate))
	}
	return strings.Join(parts, ", ")
}

// towards says whom it hits, for people.
func (o order) towards() string {
	const most = 8
	s := strings.Join(o.Peers[:min(most, len(o.Peers))], ", ")
	if more := len(o.Peers) - most; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	if len(o.Ports) > 0 {
		s += " with port " + strings.Trim(strings.Join(strings.Fields(fmt.Sprint(o.Ports)), ", "), "[]")
	}
	return s
}
