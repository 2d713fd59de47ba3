package target

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// Flow is one TCP connection, as the kernel's socket diagnostics show it.
type Flow struct {
	Local netip.AddrPort `json:"local"`
	Peer  netip.AddrPort `json:"peer"`
	// Opening: it was asked for and not answered yet.
	Opening bool `json:"opening,omitempty"`
	// Queued are the bytes that the process has written and the peer has not
	// acknowledged.
	Queued uint32 `json:"queued,omitempty"`

	inode uint32
}

// flowing are the states in which a process can have something to send: TCP_ESTABLISHED,
// TCP_SYN_SENT, TCP_CLOSE_WAIT.
const flowing = 1<<1 | 1<<2 | 1<<8

const stateSynSent = 2

// Flows lists the connections of a process and its descendants. They are those of its
// network namespace whose sockets it has open.
func Flows(ctx context.Context, p inject.Process) ([]Flow, error) {
	fd, err := p.Open()
	if err != nil {
		return nil, fmt.Errorf("list connections: %w", err)
	}
	defer unix.Close(fd)
	messages, err := diagnose("/proc/"+strconv.Itoa(p.PID)+"/ns/net", unix.IPPROTO_TCP, flowing)
	if err != nil {
		return nil, fmt.Errorf("list connections of process %d: %w", p.PID, err)
	}
	own, err := socketsOfTree(ctx, p.PID)
	if err != nil {
		return nil, err
	}
	var out []Flow
	for _, m := range messages {
		if f, ok := parseFlow(m); ok && own[f.inode] {
			out = append(out, f)
		}
	}
	return out, nil
}

func socketsOfTree(ctx context.Context, pid int) (map[uint32]bool, error) {
	out := socketsOf(pid)
	kids, err := inject.Children(ctx, pid)
	if err != nil {
		return nil, err
	}
	for _, kid := range kids {
		more, err := socketsOfTree(ctx, kid)
		if err != nil {
			return nil, err
		}
		for inode := range more {
			out[inode] = true
		}
	}
	return out, nil
}

// onSocket finds whose connection begins at a local address.
func onSocket(ctx context.Context, local string) ([]candidate, error) {
	want, err := netip.ParseAddrPort(local)
	if err != nil {
		return nil, err // Validate has seen to it
	}
	messages, err := diagnose("", unix.IPPROTO_TCP, flowing)
	if err != nil {
		return nil, err
	}
	inodes := map[uint32]bool{}
	for _, m := range messages {
		if f, ok := parseFlow(m); ok && f.Local == plain(want) {
			inodes[f.inode] = true
		}
	}
	if len(inodes) == 0 {
		return nil, fmt.Errorf("there is no such connection: %w", ErrNone)
	}
	out, err := all(ctx, func(c candidate) bool { return holds(c.PID, inodes) })
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("it is of a process that this one cannot see (of another user or pid namespace): %w", ErrNone)
	}
	return shared(out), err
}

// shared leaves out who has a socket from its parent, whatever it is called: with the
// parent's tree it is meant too.
func shared(found []candidate) []candidate {
	pids := map[int]bool{}
	for _, c := range found {
		pids[c.PID] = true
	}
	return slices.DeleteFunc(found, func(c candidate) bool { return pids[c.ppid] })
}

func plain(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// parseFlow reads struct inet_diag_msg of linux/inet_diag.h.
func parseFlow(b []byte) (Flow, bool) {
	_, inode, ok := parseDiag(b)
	if !ok {
		return Flow{}, false
	}
	ends := func(at int) (netip.Addr, error) {
		switch b[0] {
		case unix.AF_INET:
			return netip.AddrFrom4([4]byte(b[at : at+4])), nil
		case unix.AF_INET6:
			return netip.AddrFrom16([16]byte(b[at : at+16])).Unmap(), nil
		}
		return netip.Addr{}, errors.ErrUnsupported
	}
	local, err := ends(8)
	peer, err2 := ends(24)
	if err != nil || err2 != nil {
		return Flow{}, false
	}
	return Flow{
		Local:   netip.AddrPortFrom(local, binary.BigEndian.Uint16(b[4:])),
		Peer:    netip.AddrPortFrom(peer, binary.BigEndian.Uint16(b[6:])),
		Opening: b[1] == stateSynSent,
		Queued:  binary.NativeEndian.Uint32(b[60:]),
		inode:   inode,
	}, true
}
