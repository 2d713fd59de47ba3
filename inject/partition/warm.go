package partition

import (
	"strconv"
	"sync"

	"github.com/lockaudit/lockaudit/inject/netns"
	"github.com/lockaudit/lockaudit/inject/partition/nft"

	"golang.org/x/sys/unix"
)

// warm keeps the kernel's hooks switched on for as long as this process lives. Where
// nobody else uses them, the kernel rewrites its own code when the first chain is put
// on a hook, in whatever namespace, and again when the last one goes: more than half of
// what a cut and a heal cost. Empty chains in a namespace of their own, in which nothing
// lives, are enough; they see no packet. What fails here only leaves it slower.
//
// The namespace is kept by a descriptor of it, because a socket of netfilter's would
// hold up the end of the process, and with it that of a partition, by 10 ms.
var warm = sync.OnceFunc(func() {
	go func() {
		_ = netns.OnThrowawayThread(func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			conn, err := nft.Dial()
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			b := &nft.Batch{}
			b.NewTable(nft.INet, warmName, 0)
			for _, hook := range []uint32{unix.NF_INET_LOCAL_IN, unix.NF_INET_LOCAL_OUT, unix.NF_INET_POST_ROUTING} {
				b.NewChain(nft.INet, warmName, strconv.Itoa(int(hook)), nft.Hook{On: true, Num: hook})
			}
			if err := conn.Commit(b); err != nil {
				return err
			}
			_, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0) // never closed
			return err
		})
	}()
})

const warmName = "lockaudit-warm"
