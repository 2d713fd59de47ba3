package partition

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/lockaudit/lockaudit/inject"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A partition heals like a network does: what was sent meanwhile is sent again, and
// arrives late. Where it must not arrive at all, the connections that were cut are
// reset first, while nothing of them can get through.

// From linux/sock_diag.h and linux/inet_diag.h.
const (
	sockDestroy  = 21
	diagCgroupID = 21 // INET_DIAG_CGROUP_ID, kernel 5.9
	diagMsgLen   = 72
	// severed are the states in which something can still be sent: all but TCP_TIME_WAIT,
	// TCP_CLOSE, TCP_LISTEN and TCP_NEW_SYN_RECV.
	severed = 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<8 | 1<<9 | 1<<11
)

// sever resets the TCP connections that the partition cut, and says how many. It never
// keeps a partition from ending: what could not be reset is in the words.
func (h *held) sever() string {
	n, err := 0, error(nil)
	enter := h.ns.Enter(func() error { n, err = h.severHere(); return nil })
	if err = errors.Join(enter, err); err != nil {
		return fmt.Sprintf("; %d connections reset, others not: %v", n, err)
	}
	return fmt.Sprintf("; %d connections reset", n)
}

func (h *held) severHere() (n int, err error) {
	var groups map[uint64]bool
	if h.u.Group != nil {
		if groups, err = groupsBelow(h.u.Group.Path); err != nil {
			return 0, err
		}
	}
	var errs []error
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
		req.AddData(diagSocket{family: family, states: severed})
		found, err := req.Execute(unix.NETLINK_INET_DIAG, 0)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EAFNOSUPPORT) {
			continue // no IPv6
		}
		if err != nil {
			return n, fmt.Errorf("list connections: %w", err)
		}
		for _, m := range found {
			if !h.cuts(m, groups) {
				continue
			}
			kill := nl.NewNetlinkRequest(sockDestroy, unix.NLM_F_ACK)
			kill.AddData(diagSocket{family: family, states: severed, id: m[4:52]})
			_, err := kill.Execute(unix.NETLINK_INET_DIAG, 0)
			switch {
			case err == nil:
				n++
			case errors.Is(err, unix.ENOENT): // it has ended by itself
			case errors.Is(err, unix.EOPNOTSUPP):
				return n, fmt.Errorf("reset connection: this kernel cannot (CONFIG_INET_DIAG_DESTROY): %w", inject.ErrUnsupported)
			default:
				errs = append(errs, fmt.Errorf("reset connection: %w", err))
			}
		}
	}
	return n, errors.Join(errs...)
}

// cuts: the socket is one of whose packets the partition drops.
func (h *held) cuts(m []byte, groups map[uint64]bool) bool {
	if len(m) < diagMsgLen {
		return false
	}
	peer := netip.AddrFrom16([16]byte(m[24:40])).Unmap()
	if m[0] == unix.AF_INET {
		peer = netip.AddrFrom4([4]byte(m[24:28]))
	}
	ours, theirs := binary.BigEndian.Uint16(m[4:]), binary.BigEndian.Uint16(m[6:])
	if len(h.cut.ports) > 0 && !slices.Contains(h.cut.ports, ours) && !slices.Contains(h.cut.ports, theirs) {
		return false
	}
	if len(h.cut.protos) > 0 && !slices.Contains(h.cut.protos, protoTCP) {
		return false
	}
	return h.cut.peers.covers(peer) && (groups == nil || groups[groupOf(m)])
}

// groupOf is the control group that the socket was made in; 0 if the kernel does not tell.
func groupOf(m []byte) uint64 {
	attrs, err := nl.ParseRouteAttr(m[diagMsgLen:])
	if err != nil {
		return 0
	}
	for _, a := range attrs {
		if a.Attr.Type == diagCgroupID && len(a.Value) >= 8 {
			return binary.NativeEndian.Uint64(a.Value)
		}
	}
	return 0
}

// groupsBelow are the ids of a control group and of those below it.
func groupsBelow(path string) (map[uint64]bool, error) {
	dir, err := groupDir(path)
	if err != nil {
		return nil, err
	}
	out := map[uint64]bool{}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return skipGone(err)
		}
		id, err := groupID(path)
		if err == nil {
			out[id] = true
		}
		return skipGone(err)
	})
	return out, err
}

// covers: an address is one of the peers, by itself or in a network.
func (p peers) covers(a netip.Addr) bool {
	nets := p.nets4
	if a.Is6() {
		nets = p.nets6
	}
	for _, r := range nets {
		if r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0 {
			return true
		}
	}
	return p.names(a)
}

// diagSocket is struct inet_diag_req_v2, for all TCP sockets of a family or for the one
// whose struct inet_diag_sockid is given.
type diagSocket struct {
	family uint8
	states uint32
	id     []byte
}

// Len implements nl.NetlinkRequestData.
func (diagSocket) Len() int { return 56 }

// Serialize implements nl.NetlinkRequestData.
func (d diagSocket) Serialize() []byte {
	b := make([]byte, d.Len())
	b[0], b[1] = d.family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[4:], d.states)
	copy(b[8:], d.id)
	return b
}
