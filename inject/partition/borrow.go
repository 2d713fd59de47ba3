package partition

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/inject/netns"
	"github.com/lockaudit/lockaudit/inject/partition/nft"

	"golang.org/x/sys/unix"
)

// asOwner runs f over a copy of the socket that owns a table: the kernel lets
// nobody else change it. This is for an owner that lives and does not react; one
// that has died has taken its table along.
func asOwner(ns *netns.Namespace, port uint32, f func(*nft.Conn) error) error {
	var inode uint64
	err := ns.Enter(func() (err error) {
		inode, err = socketInode(port)
		return err
	})
	if err != nil {
		return err
	}
	pid, fd, err := holderOf(inode)
	if err != nil {
		return err
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("open the owner, process %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(pidfd) }()
	socket, err := unix.PidfdGetfd(pidfd, fd, 0)
	if err != nil {
		return fmt.Errorf("borrow the socket of the owner, process %d: %w", pid, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(socket, &st); err != nil || st.Ino != inode {
		_ = unix.Close(socket)
		return errors.Join(errors.New("borrow the socket of the owner: it is another one by now"), err)
	}
	c, err := nft.Adopt(socket)
	if err != nil {
		return err
	}
	return errors.Join(f(c), c.Close())
}

// socketInode finds the netfilter socket with a netlink port in the namespace of
// this thread, by /proc/net/netlink:
// sk, protocol, port, groups, …, inode.
func socketInode(port uint32) (uint64, error) {
	b, err := os.ReadFile("/proc/thread-self/net/netlink")
	if err != nil {
		return 0, fmt.Errorf("find the owner's socket: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) == 10 && f[1] == strconv.Itoa(unix.NETLINK_NETFILTER) && f[2] == strconv.FormatUint(uint64(port), 10) {
			return strconv.ParseUint(f[9], 10, 64)
		}
	}
	return 0, fmt.Errorf("find the owner's socket: no netfilter socket has port %d", port)
}

// holderOf finds a process with a descriptor of the socket.
func holderOf(inode uint64) (pid, fd int, err error) {
	want := fmt.Sprintf("socket:[%d]", inode)
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return 0, 0, err
	}
	for _, p := range procs {
		if pid, err = strconv.Atoi(p.Name()); err != nil {
			continue
		}
		dir := "/proc/" + p.Name() + "/fd/"
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue // gone, or not ours to look into
		}
		for _, d := range fds {
			if to, err := os.Readlink(dir + d.Name()); err == nil && to == want {
				fd, err := strconv.Atoi(d.Name())
				return pid, fd, err
			}
		}
	}
	return 0, 0, fmt.Errorf("find the owner's socket: no process that can be seen holds %s", want)
}
