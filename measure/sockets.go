package measure

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"
	"unsafe"

	"github.com/lockaudit/lockaudit/history"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// From linux/inet_diag.h and linux/tcp.h.
const (
	diagRequestLen = 56
	diagMessageLen = 72
	diagInfo       = 2 // INET_DIAG_INFO
	established    = 1 // TCP_ESTABLISHED
)

// connection is what the kernel knows about one live TCP connection.
type connection struct {
	peer netip.AddrPort
	info unix.TCPInfo
}

// sockets reads TCP_INFO of the node's established connections to the peer: the
// round trips that the real applications see, without a packet sent.
func sockets(ctx context.Context, p Sockets) (history.Sample, error) {
	addresses, port, err := peerAddresses(ctx, p.Peer)
	if err != nil {
		return history.Sample{}, err
	}
	var rtt []time.Duration
	var spread time.Duration
	var resent uint32
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		found, err := connections(family, port)
		if errors.Is(err, unix.ENOENT) {
			continue // a kernel without this family, or without inet_diag for it
		}
		if err != nil {
			return history.Sample{}, fmt.Errorf("read socket diagnostics: %w", err)
		}
		for _, c := range found {
			if !addresses[c.peer.Addr().Unmap()] || c.info.Rtt == 0 {
				continue
			}
			rtt = append(rtt, time.Duration(c.info.Rtt)*time.Microsecond)
			spread = max(spread, time.Duration(c.info.Rttvar)*time.Microsecond)
			resent += c.info.Total_retrans
		}
	}
	s := history.NewSample(history.SampleRTT, rtt, 0)
	s.Peer, s.Source = p.Peer, "tcp_info"
	if len(rtt) > 0 {
		s.Notes = append(s.Notes, fmt.Sprintf("smoothed by the kernel; mean deviation up to %s, %d segments sent again", spread, resent))
	}
	return s, nil
}

func peerAddresses(ctx context.Context, peer string) (map[netip.Addr]bool, uint16, error) {
	host, word, err := net.SplitHostPort(peer)
	if err != nil {
		return nil, 0, fmt.Errorf("peer %q is not host:port: %w", peer, ErrParams)
	}
	port, err := strconv.ParseUint(word, 10, 16)
	if err != nil {
		return nil, 0, fmt.Errorf("peer %q has no port number: %w", peer, ErrParams)
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, 0, fmt.Errorf("resolve peer: %w", err)
	}
	addresses := map[netip.Addr]bool{}
	for _, a := range found {
		addresses[a.Unmap()] = true
	}
	return addresses, uint16(port), nil
}

// connections lists the established TCP connections to a port of a peer. The
// kernel filters by port, so that a node with many sockets hands out few.
func connections(family uint8, port uint16) ([]connection, error) {
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
	req.AddData(diagRequest{family, port})
	messages, err := req.Execute(unix.NETLINK_INET_DIAG, 0)
	if err != nil {
		return nil, err
	}
	var out []connection
	for _, m := range messages {
		if c, ok := parseConnection(m); ok {
			out = append(out, c)
		}
	}
	return out, nil
}

// diagRequest is struct inet_diag_req_v2.
type diagRequest struct {
	family uint8
	port   uint16
}

// Len implements nl.NetlinkRequestData.
func (diagRequest) Len() int { return diagRequestLen }

// Serialize implements nl.NetlinkRequestData.
func (r diagRequest) Serialize() []byte {
	b := make([]byte, diagRequestLen)
	b[0], b[1], b[2] = r.family, unix.IPPROTO_TCP, 1<<(diagInfo-1)
	binary.NativeEndian.PutUint32(b[4:], 1<<established)
	binary.BigEndian.PutUint16(b[10:], r.port) // idiag_dport
	return b
}

// parseConnection reads struct inet_diag_msg and the tcp_info behind it. A
// kernel older than this struct sends a shorter tcp_info; the rest stays zero.
func parseConnection(b []byte) (connection, bool) {
	if len(b) < diagMessageLen {
		return connection{}, false
	}
	var c connection
	port := binary.BigEndian.Uint16(b[6:])
	switch b[0] {
	case unix.AF_INET:
		c.peer = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[24:28])), port)
	case unix.AF_INET6:
		c.peer = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[24:40])), port)
	default:
		return connection{}, false
	}
	attrs, err := nl.ParseRouteAttr(b[diagMessageLen:])
	if err != nil {
		return connection{}, false
	}
	for _, a := range attrs {
		if a.Attr.Type == diagInfo {
			copy((*[unsafe.Sizeof(c.info)]byte)(unsafe.Pointer(&c.info))[:], a.Value)
			return c, true
		}
	}
	return connection{}, false
}
