package partition

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/partition/nft"
	"github.com/lockaudit/lockaudit/inject/target"

	"golang.org/x/sys/unix"
)

// Netns names a network namespace: in JSON a path, as /run/netns/a, or the process
// whose it is, as {"pid": 1, "start_time": 2} or {"unit": "billing.service"}.
type Netns struct {
	Path string
	Of   target.Selector
}

// UnmarshalJSON takes both forms.
func (n *Netns) UnmarshalJSON(b []byte) error {
	*n = Netns{}
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &n.Path)
	}
	var err error
	if n.Of, err = target.Parse(b); err != nil {
		return fmt.Errorf("netns: %w", err)
	}
	return nil
}

// MarshalJSON writes the form that was read.
func (n Netns) MarshalJSON() ([]byte, error) {
	if !n.Of.IsZero() {
		return json.Marshal(n.Of)
	}
	return json.Marshal(n.Path)
}

// namespaceRef finds a network namespace again. The inode number is reused after a
// namespace has gone, the cookie (kernel 5.14) is not before the next boot.
type namespaceRef struct {
	Netns  Netns  `json:"netns,omitzero"`
	Inode  uint64 `json:"inode"`
	Cookie uint64 `json:"cookie,omitempty"`
}

func (r namespaceRef) String() string {
	switch {
	case r.Netns.Of.PID != 0:
		return fmt.Sprintf("of process %d (%d)", r.Netns.Of.PID, r.Inode)
	case r.Netns.Path != "":
		return fmt.Sprintf("%s (%d)", r.Netns.Path, r.Inode)
	default:
		return fmt.Sprintf("of the agent (%d)", r.Inode)
	}
}

// namespace is an open one. The file keeps it, and its number, from being reused;
// it is closed only when nothing is done there any more.
type namespace struct {
	ref  namespaceRef
	file *os.File
}

func (n *namespace) close() { _ = n.file.Close() }

// open finds the namespace of an order.
func (n Netns) open(ctx context.Context) (*namespace, error) {
	var err error
	if n.Of, err = resolved(ctx, n.Of); err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	path := n.Path
	switch {
	case n.Of.PID != 0:
		path = "/proc/" + strconv.Itoa(n.Of.PID) + "/ns/net"
	case path == "":
		path = "/proc/thread-self/ns/net"
	}
	ns, err := openNamespace(path)
	if err != nil {
		return nil, err
	}
	ns.ref.Netns = n
	if n.Of.PID == 0 {
		return ns, nil
	}
	// The process lives now, so the path meant it then.
	fd, err := inject.Process{PID: n.Of.PID, StartTime: n.Of.StartTime}.Open()
	if err != nil {
		ns.close()
		return nil, err
	}
	_ = unix.Close(fd)
	return ns, nil
}

// resolved is the selector of exactly the process that is meant now.
func resolved(ctx context.Context, s target.Selector) (target.Selector, error) {
	switch {
	case s.IsZero(), s.PID != 0 && s.StartTime != 0:
		return s, nil
	case s.PID != 0:
		st, err := inject.ReadStat(s.PID)
		return target.Selector{PID: s.PID, StartTime: st.StartTime}, err
	}
	t, err := target.Resolve(ctx, s)
	return target.Selector{PID: t.PID, StartTime: t.StartTime}, err
}

func openNamespace(path string) (*namespace, error) {
	// A path is from outside: it must not block on a pipe or start a device.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	switch {
	case notThere(err):
		return nil, fmt.Errorf("open network namespace %s: %w", path, inject.ErrGone)
	case err != nil:
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	ns := &namespace{file: f}
	if ns.ref.Inode, err = networkInode(int(f.Fd())); err != nil {
		ns.close()
		return nil, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	return ns, nil
}

// networkInode is the number of the network namespace behind a descriptor.
func networkInode(fd int) (uint64, error) {
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

// dial opens a netfilter socket in the namespace and checks that it is there: a
// rule that lands in the host's namespace cuts off the host. It notes the cookie,
// or compares it with the one noted before.
func (n *namespace) dial() (*nft.Conn, error) {
	var c *nft.Conn
	err := n.enter(func() (err error) {
		c, err = nft.Dial()
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := n.verify(c.FD()); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (n *namespace) verify(socket int) error {
	fd, err := unix.IoctlRetInt(socket, unix.SIOCGSKNS)
	if err != nil {
		return fmt.Errorf("find namespace of the socket: %w; CAP_NET_ADMIN is needed: %w", err, inject.ErrUnsupported)
	}
	inode, err := networkInode(fd)
	_ = unix.Close(fd)
	if err != nil {
		return fmt.Errorf("find namespace of the socket: %w", err)
	}
	if inode != n.ref.Inode {
		return fmt.Errorf("the socket is in the network namespace %d, not %d: %w", inode, n.ref.Inode, inject.ErrRefused)
	}
	cookie, err := unix.GetsockoptUint64(socket, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return nil // before 5.14
	}
	if n.ref.Cookie != 0 && n.ref.Cookie != cookie {
		return fmt.Errorf("network namespace %d is another one by now: %w", inode, inject.ErrGone)
	}
	n.ref.Cookie = cookie
	return nil
}

// enter runs f on a thread in the namespace. Sockets that f opens stay there.
func (n *namespace) enter(f func() error) error {
	here, err := openNamespace("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	same := here.ref.Inode == n.ref.Inode
	here.close()
	if same { // neither a thread nor CAP_SYS_ADMIN is needed
		return f()
	}
	err = onThrowawayThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			if errors.Is(err, unix.EPERM) {
				err = fmt.Errorf("%w; CAP_SYS_ADMIN is needed: %w", err, inject.ErrUnsupported)
			}
			return fmt.Errorf("enter network namespace %v: %w", n.ref, err)
		}
		return f()
	})
	runtime.KeepAlive(n.file) // its number must not be reused before the thread is inside
	return err
}

// onThrowawayThread runs f on a thread that ends with it, so that no other
// goroutine ever runs in a namespace that is not the process's.
func onThrowawayThread(f func() error) error {
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
		result <- onThrowawayThread(f)
	}()
	return <-result
}

// reopen finds the namespace of a plan again; ErrGone if what is there now is
// another one.
func (r namespaceRef) reopen() (*namespace, error) {
	ns, err := r.Netns.open(context.Background())
	if err != nil {
		return nil, err
	}
	if ns.ref.Inode != r.Inode {
		ns.close()
		return nil, fmt.Errorf("network namespace %v: another one is in its place: %w", r, inject.ErrGone)
	}
	ns.ref = r
	return ns, nil
}

// search finds a plan's namespace under whatever process still lives in it, when
// the name of the order leads there no longer.
func (r namespaceRef) search() (*namespace, error) {
	ns, err := r.reopen()
	if !errors.Is(err, inject.ErrGone) {
		return ns, err
	}
	procs, readErr := os.ReadDir("/proc")
	if readErr != nil {
		return nil, readErr
	}
	for _, p := range procs {
		if _, err := strconv.Atoi(p.Name()); err != nil {
			continue
		}
		path := "/proc/" + p.Name() + "/ns/net"
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil || st.Ino != r.Inode {
			continue
		}
		if ns, err := openNamespace(path); err == nil {
			if ns.ref.Inode == r.Inode {
				ns.ref = r
				return ns, nil
			}
			ns.close()
		}
	}
	return nil, err
}

func notThere(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH)
}
