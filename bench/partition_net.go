package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// host is a network namespace with one cable; a process keeps it.
type host struct {
	file *os.File
	cmd  *exec.Cmd
}

// in runs f in the namespace, on a thread that ends with it.
func (h host) in(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() { // the main thread would not end
			defer runtime.UnlockOSThread()
			done <- h.in(f)
			return
		}
		err := error(nil)
		if h.file != nil {
			err = unix.Setns(int(h.file.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

func newHost() (h host, err error) {
	err = h.in(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace: %w", err)
		}
		if h.file, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		h.cmd = exec.Command("sleep", "1000")
		return h.cmd.Start()
	})
	return h, err
}

func (h host) close() {
	_, _ = h.cmd.Process.Kill(), h.cmd.Wait()
	_ = h.file.Close()
}

// cable is two hosts, 10.99.0.1 and 10.99.0.2, with a socket each.
type cable struct {
	a, b   host
	ca, cb *net.UDPConn
}

func newCable() (*cable, error) {
	a, err := newHost()
	if err != nil {
		return nil, err
	}
	b, err := newHost()
	if err != nil {
		a.close()
		return nil, err
	}
	c := &cable{a: a, b: b}
	err = errors.Join(a.in(func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(b.file.Fd())})
	}), up(a, "10.99.0.1/24"), up(b, "10.99.0.2/24"))
	if err == nil {
		c.ca, err = socket(a, "10.99.0.1:7000", "10.99.0.2:7000")
	}
	if err == nil {
		c.cb, err = socket(b, "10.99.0.2:7000", "10.99.0.1:7000")
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *cable) close() {
	for _, s := range []*net.UDPConn{c.ca, c.cb} {
		if s != nil {
			_ = s.Close()
		}
	}
	c.a.close()
	c.b.close()
}

func up(h host, address string) error {
	n, err := netlink.NewHandleAt(netns.NsHandle(h.file.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer n.Close()
	for _, name := range []string{"lo", "eth0"} {
		l, err := n.LinkByName(name)
		if err != nil {
			return err
		}
		if name == "eth0" {
			addr, err := netlink.ParseAddr(address)
			if err != nil {
				return err
			}
			if err := n.AddrAdd(l, addr); err != nil {
				return err
			}
		}
		if err := n.LinkSetUp(l); err != nil {
			return err
		}
	}
	return nil
}

func socket(h host, local, remote string) (*net.UDPConn, error) {
	var c *net.UDPConn
	err := h.in(func() error {
		l, err := net.ResolveUDPAddr("udp", local)
		if err != nil {
			return err
		}
		r, err := net.ResolveUDPAddr("udp", remote)
		if err != nil {
			return err
		}
		if c, err = net.DialUDP("udp", l, r); err != nil {
			return err
		}
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		var inner error
		// Room for what comes while the receiver does not run.
		err = raw.Control(func(fd uintptr) {
			inner = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
		})
		return errors.Join(err, inner)
	})
	return c, err
}
