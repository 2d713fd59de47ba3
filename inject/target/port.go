package target

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/inject"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// onPort finds who holds a listening socket of the port. Init is left out where
// another has it too: it only keeps it open for a service.
func onPort(ctx context.Context, s Selector) ([]candidate, error) {
	inodes, err := listeners(s)
	if err != nil {
		return nil, err
	}
	if len(inodes) == 0 {
		return nil, fmt.Errorf("nobody listens there: %w", ErrNone)
	}
	out, err := all(ctx, func(c candidate) bool { return holds(c.PID, inodes) })
	switch {
	case err != nil:
		return nil, err
	case len(out) == 0:
		return nil, fmt.Errorf("somebody listens there whom this process cannot see (of another user or pid namespace): %w", ErrNone)
	}
	if len(out) > 1 {
		for i, c := range out {
			if c.PID == 1 {
				return append(out[:i:i], out[i+1:]...), nil
			}
		}
	}
	return out, nil
}

// holds reports that the process has one of the sockets open.
func holds(pid int, inodes map[uint32]bool) bool {
	for inode := range socketsOf(pid) {
		if inodes[inode] {
			return true
		}
	}
	return false
}

// socketsOf are the inodes of a process's sockets; none where it has ended, or is
// another user's.
func socketsOf(pid int) map[uint32]bool {
	out := map[uint32]bool{}
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	fds, err := os.ReadDir(dir)
	if err != nil {
		return out
	}
	for _, fd := range fds {
		link, err := os.Readlink(dir + "/" + fd.Name())
		if err != nil {
			continue
		}
		number, ok := strings.CutPrefix(link, "socket:[")
		if !ok {
			continue
		}
		inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 32)
		if err == nil {
			out[uint32(inode)] = true
		}
	}
	return out
}

// listeners asks the kernel's socket diagnostics, in the selector's namespace, for
// the inodes of listening TCP and of unconnected UDP sockets.
func listeners(s Selector) (map[uint32]bool, error) {
	out := map[uint32]bool{}
	for _, proto := range []struct {
		name   string
		number uint8
		states uint32 // 1 << TCP_LISTEN, 1 << TCP_CLOSE
	}{{"tcp", unix.IPPROTO_TCP, 1 << 10}, {"udp", unix.IPPROTO_UDP, 1 << 7}} {
		if s.Proto != "" && s.Proto != proto.name {
			continue
		}
		messages, err := diagnose(s.Netns, proto.number, proto.states)
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			if port, inode, ok := parseDiag(m); ok && port == s.Port {
				out[inode] = true
			}
		}
	}
	return out, nil
}

// diagnose lists a namespace's sockets of a protocol in the given states, IPv4 and IPv6.
func diagnose(path string, proto uint8, states uint32) ([][]byte, error) {
	at, err := openNetns(path)
	if err != nil {
		return nil, err
	}
	defer at.Close()
	socket, err := nl.GetNetlinkSocketAt(at, netns.None(), unix.NETLINK_INET_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open socket diagnostics: %w", err)
	}
	handle := &nl.SocketHandle{Socket: socket}
	defer handle.Close()
	var out [][]byte
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
		req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_INET_DIAG: handle}
		req.AddData(diagRequest{family, proto, states})
		messages, err := req.Execute(unix.NETLINK_INET_DIAG, 0)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EAFNOSUPPORT) {
			continue // no IPv6, or udp_diag is not loaded
		}
		if err != nil {
			return nil, fmt.Errorf("ask socket diagnostics: %w", err)
		}
		out = append(out, messages...)
	}
	return out, nil
}

func openNetns(path string) (netns.NsHandle, error) {
	if path == "" {
		path = "/proc/thread-self/ns/net"
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return netns.None(), fmt.Errorf("open network namespace %s: %w", path, err)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || fs.Type != unix.NSFS_MAGIC {
		unix.Close(fd)
		return netns.None(), fmt.Errorf("open network namespace %s: it is not one: %w", path, inject.ErrRefused)
	}
	return netns.NsHandle(fd), nil
}

// diagRequest is struct inet_diag_req_v2 of linux/inet_diag.h, for all sockets of
// a family and protocol in the given states.
type diagRequest struct {
	family, proto uint8
	states        uint32
}

func (diagRequest) Len() int { return 56 }

func (r diagRequest) Serialize() []byte {
	b := make([]byte, r.Len())
	b[0], b[1] = r.family, r.proto
	binary.NativeEndian.PutUint32(b[4:], r.states)
	return b
}

// parseDiag takes the source port and the inode from struct inet_diag_msg.
func parseDiag(b []byte) (port int, inode uint32, ok bool) {
	if len(b) < 72 {
		return 0, 0, false
	}
	return int(binary.BigEndian.Uint16(b[4:])), binary.NativeEndian.Uint32(b[68:]), true
}
