package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func upLoopback() error {
	return onInterface("lo", func(fd int, r *unix.Ifreq) error { return up(fd, r) })
}

// upNetwork gives eth0 its addresses, if the machine has any. Its driver may still be
// at it.
func upNetwork(list string) error {
	if list == "" { // from the kernel's command line
		return nil
	}
	name := "eth0"
	for i, cidr := range strings.Split(list, ",") {
		if i > 0 {
			name = fmt.Sprintf("eth0:%d", i)
		}
		p, err := netip.ParsePrefix(cidr)
		if err != nil {
			return err
		}
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			err = onInterface(name, func(fd int, r *unix.Ifreq) error { return address(fd, r, p) })
			if !errors.Is(err, unix.ENODEV) || time.Now().After(end) {
				break
			}
		}
		if err != nil {
			return fmt.Errorf("set address %s: %w", cidr, err)
		}
	}
	return nil
}

func address(fd int, r *unix.Ifreq, p netip.Prefix) error {
	ones := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	ip, mask := p.Addr().As4(), netip.PrefixFrom(ones, p.Bits()).Masked().Addr().As4()
	if err := r.SetInet4Addr(ip[:]); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFADDR, r); err != nil {
		return err
	}
	if err := r.SetInet4Addr(mask[:]); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFNETMASK, r); err != nil {
		return err
	}
	return up(fd, r)
}

func onInterface(name string, f func(fd int, r *unix.Ifreq) error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	return f(fd, r)
}

func up(fd int, r *unix.Ifreq) error {
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}
