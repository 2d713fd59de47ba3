package netns

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// Namespace is an open one. The descriptor keeps it, and its number, from being reused;
// it is closed once, when nothing is done there any more.
type Namespace struct {
	Ref Ref
	fd  int
}

// Close lets go of it.
func (n *Namespace) Close() { _ = unix.Close(n.fd) }

// Enter runs f on a thread in the namespace. Sockets that f opens stay there.
func (n *Namespace) Enter(f func() error) error {
	var here unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &here); err != nil {
		return fmt.Errorf("look at network namespace: %w", err)
	}
	if here.Ino == n.Ref.Inode { // neither a thread nor CAP_SYS_ADMIN is needed
		return f()
	}
	return n.onBorrowedThread(f)
}

// onBorrowedThread runs f on a thread of the runtime that goes back to its own
// namespace, which is quicker by 0.1 ms than to make one that ends. The runtime
// starts no thread from one that is locked. One that cannot go back ends.
func (n *Namespace) onBorrowedThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() { // this one cannot end, should the way back fail
			defer runtime.UnlockOSThread()
			result <- OnThrowawayThread(func() error { return n.inside(f) })
			return
		}
		back, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			runtime.UnlockOSThread() // it has not left
			result <- fmt.Errorf("open network namespace: %w", err)
			return
		}
		defer func() { _ = unix.Close(back) }()
		err = n.inside(f)
		if failed := unix.Setns(back, unix.CLONE_NEWNET); failed == nil {
			runtime.UnlockOSThread()
		} // else still locked: the runtime ends the thread
		result <- err
	}()
	return <-result
}

func (n *Namespace) inside(f func() error) error {
	if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
		if errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("%w; CAP_SYS_ADMIN is needed: %w", err, inject.ErrUnsupported)
		}
		return fmt.Errorf("enter network namespace %v: %w", n.Ref, err)
	}
	return f()
}

// OnThrowawayThread runs f on a thread that ends with it, so that no other
// goroutine ever runs in a namespace that is not the process's.
func OnThrowawayThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			result <- f()
			return // still locked: the runtime ends the thread
		}
		// Go never ends the main thread. While this goroutine occupies it, the next
		// one gets another.
		defer runtime.UnlockOSThread()
		result <- OnThrowawayThread(f)
	}()
	return <-result
}

// Identify checks the namespace, and notes its cookie or compares it with the one
// noted before.
func (n *Namespace) Identify() error {
	fd := -1
	err := n.Enter(func() (err error) {
		fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return n.Verify(fd)
}

// Verify checks that a socket is in the namespace, and the cookie as Identify does.
func (n *Namespace) Verify(socket int) error {
	fd, err := unix.IoctlRetInt(socket, unix.SIOCGSKNS)
	if err != nil {
		return fmt.Errorf("find namespace of the socket: %w; CAP_NET_ADMIN is needed: %w", err, inject.ErrUnsupported)
	}
	inode, err := inodeOf(fd)
	_ = unix.Close(fd)
	if err != nil {
		return fmt.Errorf("find namespace of the socket: %w", err)
	}
	if inode != n.Ref.Inode {
		return fmt.Errorf("the socket is in the network namespace %d, not %d: %w", inode, n.Ref.Inode, inject.ErrRefused)
	}
	cookie, err := unix.GetsockoptUint64(socket, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return nil // before 5.14
	}
	if n.Ref.Cookie != 0 && n.Ref.Cookie != cookie {
		return fmt.Errorf("network namespace %d is another one by now: %w", inode, inject.ErrGone)
	}
	n.Ref.Cookie = cookie
	return nil
}

// inodeOf is the number of the network namespace behind a descriptor.
func inodeOf(fd int) (uint64, error) {
	var fs unix.Statfs_t
	var st unix.Stat_t
	if err := errors.Join(unix.Fstatfs(fd, &fs), unix.Fstat(fd, &st)); err != nil {
		return 0, err
	}
	if fs.Type != unix.NSFS_MAGIC {
		return 0, errors.New("not a namespace")
	}
	if kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE); err != nil || kind != unix.CLONE_NEWNET {
		return 0, errors.New("not a network namespace")
	}
	return st.Ino, nil
}
