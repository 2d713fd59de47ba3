package partition_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/partition"

	"golang.org/x/sys/unix"
)

// withoutNft makes this test binary one that reverts the plan on its stdin as on a
// kernel without nf_tables: the kernel itself answers so, to this process alone.
const withoutNft = "LOCKAUDIT_TEST_WITHOUT_NFT"

func revertWithoutNft() {
	if err := forbidNetfilter(); err != nil {
		panic(err)
	}
	var p inject.Plan
	if err := json.NewDecoder(os.Stdin).Decode(&p); err != nil {
		panic(err)
	}
	f := partition.New()
	_, why := f.Support()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e, err := f.Revert(ctx, p)
	fmt.Printf("support: %s\nrevert: %s, %v\n", why, e.Seen, err)
}

// forbidNetfilter has a filter answer every socket(AF_NETLINK, …, NETLINK_NETFILTER)
// of this process with EPROTONOSUPPORT, as a kernel does that was built without it.
func forbidNetfilter() error {
	const numbers, firstArg, thirdArg = 0, 16, 32 // in struct seccomp_data; little endian
	is := func(k uint32, otherwise uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: otherwise, K: k}
	}
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	end := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	filter := []unix.SockFilter{
		load(numbers), is(unix.SYS_SOCKET, 5),
		load(firstArg), is(unix.AF_NETLINK, 3),
		load(thirdArg), is(unix.NETLINK_NETFILTER, 1),
		end(unix.SECCOMP_RET_ERRNO | uint32(unix.EPROTONOSUPPORT)),
		end(unix.SECCOMP_RET_ALLOW),
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return fmt.Errorf("set seccomp filter: %w", errno)
	}
	return nil
}

// TestRevertWithoutNftables: where the kernel has no nf_tables (any more: a journal
// outlives a module), no table can be there, and that is what is said.
func TestRevertWithoutNftables(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	p, err := partition.New().Prepare(testContext(t), a.spec(time.Minute, partition.Params{Peers: []string{"10.99.0.2"}}))
	if err != nil {
		t.Fatal(err)
	}
	p.ID = "t"
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	plan, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(testContext(t), self)
	cmd.Env = append(os.Environ(), withoutNft+"=1")
	cmd.Stdin = strings.NewReader(string(plan))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{
		"support: open netfilter socket: this kernel has no nf_tables", // what the filter does is what such a kernel does
		"revert: this kernel has no nf_tables, so that no table of it can be there, <nil>",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("without nf_tables: %s\nwant %q", out, want)
		}
	}
}
