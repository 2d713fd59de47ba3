package partition

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/netns"
	"github.com/lockaudit/lockaudit/inject/target"
)

// Params name what is cut from what.
type Params struct {
	// Peers are addresses and networks, as 10.0.0.1 or fd00::/64.
	Peers []string `json:"peers"`
	// Ports restrict the cut to packets with one of them at either end; without
	// any, all traffic is cut.
	Ports []int `json:"ports,omitempty"`
	// Proto is tcp, udp or "" for both (with ports) or everything (without).
	Proto string `json:"proto,omitempty"`
	// Direction is in, out or both, which is the default: what arrives from the
	// peers, what leaves to them.
	Direction string `json:"direction,omitempty"`
	// Netns is the network namespace; the default is Process's or this process's.
	Netns netns.Name `json:"netns,omitzero"`
	// Process, if given, is the only one whose packets are cut. It and its children
	// must be alone in their control group (v2). Of a unit or container all
	// processes are meant.
	Process target.Selector `json:"process,omitzero"`
	// Pick cuts off only so many of the peers, drawn with Seed. 0 is all.
	Pick int    `json:"pick,omitempty"`
	Seed uint64 `json:"seed,omitempty"`
	// Period and Duty make it flap: in every Period it is in effect for Duty
	// percent of the time, first on, then off.
	Period time.Duration `json:"period,omitempty"`
	Duty   int           `json:"duty,omitempty"`
	// Protect are endpoints and networks, as 10.0.0.9:22 and 10.0.9.0/24, that stay reachable although a
	// network among the peers covers them. SSH connections that lead to this
	// process stay anyhow.
	Protect []string `json:"protect,omitempty"`
	// Sever resets the TCP connections that were cut before it ends, so that what was
	// written to them meanwhile never arrives. What ends by the kernel alone, because
	// this process has died, does not do so.
	Sever bool `json:"sever,omitempty"`
}

// cut is Params, checked.
type cut struct {
	peers     peers
	ports     []uint16
	protos    []byte // IP protocol numbers; empty is all
	direction string
	asked     string // the direction as ordered
	Netns     netns.Name
	process   target.Selector
	flap      flap
	kept      []kept
	sever     bool
}

func (c cut) in() bool  { return c.direction != "out" }
func (c cut) out() bool { return c.direction != "in" }

// IP protocol numbers.
const (
	protoTCP = 6
	protoUDP = 17
	protoND  = 58 // ICMPv6
)

// what says which traffic, for people.
func (c cut) what() string {
	words := map[byte]string{protoTCP: "tcp", protoUDP: "udp"}
	var names []string
	for _, p := range c.protos {
		names = append(names, words[p])
	}
	s := strings.Join(names, " and ")
	if s == "" {
		s = "all traffic"
	}
	if len(c.ports) > 0 {
		var ports []string
		for _, p := range c.ports {
			ports = append(ports, strconv.Itoa(int(p)))
		}
		s += " with port " + list(ports)
	}
	return s
}

// maxParams bounds the params in bytes: an order and its plan each have to fit
// into one line of 1 MB.
const maxParams = 400 << 10

// Check says what is wrong with params, as far as that can be told on any machine.
func Check(b []byte) error {
	_, err := decodeParams(b)
	return err
}

func decodeParams(b []byte) (cut, error) {
	if len(b) > maxParams {
		return cut{}, tooMany(fmt.Sprintf("%d kB of params", len(b)>>10))
	}
	var p Params
	if err := inject.DecodeStrict(b, &p); err != nil {
		return cut{}, err
	}
	c := cut{direction: p.Direction, asked: p.Direction, Netns: p.Netns, process: p.Process, sever: p.Sever}
	if !p.Process.IsZero() {
		if err := p.Process.Validate(); err != nil {
			return cut{}, fmt.Errorf("process: %w", err)
		}
	}
	var err error
	if c.flap, err = newFlap(p.Period, p.Duty); err != nil {
		return cut{}, err
	}
	if p.Peers, err = pick(p.Peers, p.Pick, p.Seed); err != nil {
		return cut{}, err
	}
	if c.peers, err = parsePeers(p.Peers); err != nil {
		return cut{}, err
	}
	switch p.Direction {
	case "":
		c.direction = "both"
	case "both", "in", "out":
	default:
		return cut{}, fmt.Errorf("direction is %q, not both, in or out", p.Direction)
	}
	for _, port := range p.Ports {
		if port < 1 || port > 65535 {
			return cut{}, fmt.Errorf("port %d is not one of 1 to 65535", port)
		}
		c.ports = append(c.ports, uint16(port))
	}
	slices.Sort(c.ports)
	c.ports = slices.Compact(c.ports)
	switch {
	case p.Proto == "tcp":
		c.protos = []byte{protoTCP}
	case p.Proto == "udp":
		c.protos = []byte{protoUDP}
	case p.Proto != "":
		return cut{}, fmt.Errorf("proto is %q, not tcp or udp", p.Proto)
	case len(c.ports) > 0:
		c.protos = []byte{protoTCP, protoUDP}
	}
	for _, s := range p.Protect {
		e, err := parseProtected(s)
		if err != nil {
			return cut{}, err
		}
		if err := c.refuseProtected(e); err != nil {
			return cut{}, err
		}
		c.kept = append(c.kept, e)
	}
	return c, nil
}

func tooMany(what string) error {
	return fmt.Errorf("%s: at most %d peers and %d kB of params; name networks instead of addresses: %w", what, MaxPeers, maxParams>>10, inject.ErrRefused)
}

// list joins words, and says how many there are instead of naming very many.
func list(words []string) string {
	const most = 8
	if len(words) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(words[:most], ", "), len(words)-most)
	}
	return strings.Join(words, ", ")
}
