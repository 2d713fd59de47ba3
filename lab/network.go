package lab

import (
	"fmt"
	"net"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// bridgeName is the lab's switch, in the keeper's own network namespace. It has
// no address: the keeper is not part of the network.
const bridgeName = "lab"

// linkName is the name of every node's interface.
const linkName = "eth0"

// prefix is the length of the lab's network prefix: 10.77.0.0/24.
const prefix = 24

// network holds one network namespace per node, by name. A namespace lives as
// long as its file is open or a process is in it.
type network map[string]*os.File

// buildNetwork makes a bridge in this process's network namespace and links every
// node to it. The bridge runs no spanning tree, so its ports forward at once.
func buildNetwork(nodes []Node) (network, error) {
	here, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("build network: %w", err)
	}
	defer here.Close()
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName}}
	if err := here.LinkAdd(bridge); err != nil {
		return nil, fmt.Errorf("add bridge: %w", err)
	}
	if err := linkUp(here, bridgeName); err != nil {
		return nil, err
	}
	n := network{}
	for _, node := range nodes {
		ns, err := newNamespace()
		if err != nil {
			return nil, fmt.Errorf("make namespace of %s: %w", node.Name, err)
		}
		n[node.Name] = ns
		if err := attach(here, bridge, node, ns); err != nil {
			return nil, fmt.Errorf("attach %s: %w", node.Name, err)
		}
	}
	return n, nil
}

// attach links the node's namespace to the bridge and gives it its address.
func attach(here *netlink.Handle, bridge netlink.Link, node Node, ns *os.File) error {
	veth := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: node.Name, MasterIndex: bridge.Attrs().Index},
		PeerName:      linkName,
		PeerNamespace: netlink.NsFd(ns.Fd()),
	}
	if err := here.LinkAdd(veth); err != nil {
		return fmt.Errorf("add link: %w", err)
	}
	if err := linkUp(here, node.Name); err != nil {
		return err
	}
	there, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open namespace: %w", err)
	}
	defer there.Close()
	if err := linkUp(there, "lo"); err != nil {
		return err
	}
	link, err := there.LinkByName(linkName)
	if err != nil {
		return fmt.Errorf("find link: %w", err)
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(node.IP), Mask: net.CIDRMask(prefix, 32)}}
	if err := there.AddrAdd(link, address); err != nil {
		return fmt.Errorf("add address: %w", err)
	}
	if err := linkUp(there, linkName); err != nil {
		return err
	}
	return share(there, link, node)
}

// share gives the node the virtual address, or the way to it. Only who has a route
// to it by way of a certain node ever reaches it: nobody answers for it on the
// wire, and so nobody notices that two have it.
func share(there *netlink.Handle, link netlink.Link, node Node) error {
	host := net.CIDRMask(32, 32)
	if node.Virtual != "" {
		lo, err := there.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("find loopback: %w", err)
		}
		if err := there.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(node.Virtual), Mask: host}}); err != nil {
			return fmt.Errorf("add virtual address: %w", err)
		}
	}
	if node.Route != "" {
		way := &netlink.Route{
			LinkIndex: link.Attrs().Index, Gw: net.ParseIP(node.Route),
			Dst: &net.IPNet{IP: net.ParseIP(virtualIP), Mask: host},
		}
		if err := there.RouteAdd(way); err != nil {
			return fmt.Errorf("add route to %s: %w", virtualIP, err)
		}
	}
	return nil
}

func linkUp(h *netlink.Handle, name string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set link %s up: %w", name, err)
	}
	return nil
}

// newNamespace makes a network namespace and returns the file that keeps it.
func newNamespace() (ns *os.File, err error) {
	err = onThrowawayThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		ns, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return ns, err
}

// inNamespace runs f on a thread in the network namespace ns. Sockets that f
// opens and processes that it starts stay there.
func inNamespace(ns *os.File, f func() error) error {
	return onThrowawayThread(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter namespace: %w", err)
		}
		return f()
	})
}

// onThrowawayThread runs f on a thread of its own, which ends with f, so that
// what f did to the thread is never seen by other goroutines.
func onThrowawayThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			result <- f()
			return // still locked: the runtime ends the thread
		}
		// /proc/pid/ns shows the main thread, and Go never ends it. While this
		// goroutine occupies it, the next one gets another.
		defer runtime.UnlockOSThread()
		result <- onThrowawayThread(f)
	}()
	return <-result
}
