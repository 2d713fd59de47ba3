package partition

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/lockaudit/lockaudit/inject/netns"

	"golang.org/x/sys/unix"
)

// sight is what a namespace has.
type sight struct {
	addresses []netip.Addr
	queues    []uint16 // of user space, that somebody reads
	// devices are the interfaces by which packets of this namespace leave it:
	// neither loopback devices nor the ports of a bridge or bond, whose traffic has
	// left the bridge or bond before.
	devices []string
}

// look checks the namespace and reads what it has, in one visit, in which also is
// done too. The cookie is noted by a socket of another kind than netfilter's, which
// is slow to close. The devices, the most of it, are read if they are asked for.
func look(n *netns.Namespace, devices bool, also func()) (sight, error) {
	var s sight
	fd := -1
	err := n.Enter(func() (err error) {
		if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		also()
		if b, err := readRaw("/proc/thread-self/net/netfilter/nfnetlink_queue"); err == nil {
			s.queues = readQueues(b)
		}
		if devices {
			if err := s.links(); err != nil {
				return err
			}
		}
		addresses, err := net.InterfaceAddrs()
		if err != nil {
			return err
		}
		for _, a := range addresses {
			if n, ok := a.(*net.IPNet); ok {
				if ip, ok := netip.AddrFromSlice(n.IP); ok {
					s.addresses = append(s.addresses, ip.Unmap())
				}
			}
		}
		return nil
	})
	if fd >= 0 {
		defer func() { _ = unix.Close(fd) }()
	}
	if err != nil {
		return sight{}, fmt.Errorf("look into network namespace %v: %w", n.Ref, err)
	}
	if err := n.Verify(fd); err != nil {
		return sight{}, err
	}
	slices.Sort(s.devices)
	return s, nil
}

// readRaw reads a proc file without the file layer, which tries the poller on it.
func readRaw(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	var all []byte
	for buf := make([]byte, 4096); ; {
		switch n, err := unix.Read(fd, buf); {
		case err == unix.EINTR:
		case err != nil || n == 0:
			return all, err
		default:
			all = append(all, buf[:n]...)
		}
	}
}

func (s *sight) links() error {
	rib, err := syscall.NetlinkRIB(unix.RTM_GETLINK, unix.AF_UNSPEC)
	if err != nil {
		return err
	}
	messages, err := syscall.ParseNetlinkMessage(rib)
	if err != nil {
		return err
	}
	for i := range messages {
		if err := s.link(&messages[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *sight) link(m *syscall.NetlinkMessage) error {
	if m.Header.Type != unix.RTM_NEWLINK || len(m.Data) < unix.SizeofIfInfomsg {
		return nil
	}
	attrs, err := syscall.ParseNetlinkRouteAttr(m)
	if err != nil {
		return err
	}
	name, port := "", false
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.IFLA_IFNAME:
			name = string(bytes.TrimRight(a.Value, "\x00"))
		case unix.IFLA_LINKINFO:
			port = isPort(a.Value)
		}
	}
	// struct ifinfomsg: family, pad, type, index at 4, flags at 8.
	if flags := binary.NativeEndian.Uint32(m.Data[8:]); flags&unix.IFF_LOOPBACK == 0 && !port {
		s.devices = append(s.devices, name)
	}
	return nil
}

// isPort looks for IFLA_INFO_SLAVE_KIND in IFLA_LINKINFO.
func isPort(info []byte) bool {
	for len(info) >= 4 {
		n := int(binary.NativeEndian.Uint16(info))
		if n < 4 || n > len(info) {
			return false
		}
		if binary.NativeEndian.Uint16(info[2:]) == unix.IFLA_INFO_SLAVE_KIND {
			kind := string(bytes.TrimRight(info[4:n], "\x00"))
			return kind == "bridge" || kind == "bond" || kind == "team"
		}
		info = info[min((n+3)&^3, len(info)):]
	}
	return false
}
