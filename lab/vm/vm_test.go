//go:build vm

package vm_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/lab/vm"
	"github.com/lockaudit/lockaudit/lab/vm/wire"

	"golang.org/x/sys/unix"
)

// TestVMKernels: each boots, is what it says it is, and has a boot id of its own.
func TestVMKernels(t *testing.T) {
	for _, k := range []vm.Kernel{vm.Bookworm, vm.Bullseye} {
		t.Run(string(k), func(t *testing.T) {
			vm.Suite(t, vm.Machine{Kernel: k, Modules: []string{"veth", "nf_tables"}}, []vm.Case{
				{Name: "is inside", Test: func(t *testing.T) {
					b, err := os.ReadFile("/proc/sys/kernel/osrelease")
					if err != nil || !strings.HasPrefix(string(b), string(k)+".") || os.Getpid() == 1 {
						t.Errorf("kernel %s, %v", b, err)
					}
					m, err := os.ReadFile("/proc/modules")
					if err != nil || !strings.Contains(string(m), "nf_tables ") || !strings.Contains(string(m), "veth ") {
						t.Errorf("modules: %s, %v", m, err)
					}
				}},
			})
		})
	}
}

// TestVMReboot: the disk outlives the power cut and the orderly reboot, the memory
// does not.
func TestVMReboot(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	if err := vm.MakeDisk(context.Background(), disk, 32); err != nil {
		t.Fatal(err)
	}
	m := vm.Machine{Disk: disk}
	v := vm.BootTest(t, m)
	first := v.BootID
	v.MustRun(t, "write", "/disk/kept", "kept")
	v.MustRun(t, "write", "/run/lost", "lost")
	v.Kill() // a power cut
	v = vm.BootTest(t, m)
	if got := v.MustRun(t, "cat", "/disk/kept"); got != "kept" || v.BootID == first {
		t.Errorf("after the power cut the disk has %q; boot id %s, before %s", got, v.BootID, first)
	}
	if out, err := v.Run(context.Background(), "cat", "/run/lost"); err == nil {
		t.Errorf("the memory outlived the power cut: %q", out)
	}
	v.MustRun(t, "write", "/disk/kept", "again")
	if err := v.End(context.Background(), wire.Reboot); err != nil {
		t.Fatal(err)
	}
	v = vm.BootTest(t, m)
	if got := v.MustRun(t, "cat", "/disk/kept"); got != "again" {
		t.Errorf("after the reboot the disk has %q", got)
	}
	if err := v.End(context.Background(), wire.PowerOff); err != nil {
		t.Fatal(err)
	}
}

// TestVMPanic: a program that takes the kernel down ends as such, with what the
// kernel said; and so does everything after it.
func TestVMPanic(t *testing.T) {
	v := vm.BootTest(t, vm.Machine{})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := v.Run(ctx, "write", "/proc/sysrq-trigger", "c")
	if !errors.Is(err, vm.ErrPanic) || !strings.Contains(err.Error(), "sysrq") {
		t.Errorf("%v, want %v", err, vm.ErrPanic)
	}
	if _, err := v.Run(ctx, "true"); !errors.Is(err, vm.ErrPanic) {
		t.Errorf("a program after that: %v, want %v", err, vm.ErrPanic)
	}
	_, err = vm.Boot(ctx, vm.Machine{NoInit: true})
	if !errors.Is(err, vm.ErrPanic) {
		t.Errorf("a machine without init: %v, want %v", err, vm.ErrPanic)
	}
}

// TestVMHang: neither a boot that does not come to its end nor a program that never
// does holds up a test for longer than it says, and nothing of them remains.
func TestVMHang(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if _, err := vm.Boot(ctx, vm.Machine{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a boot of 200 ms: %v", err)
	}
	v := vm.BootTest(t, vm.Machine{})
	ctx, cancel = context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if _, err := v.Run(ctx, "sleep", "1000"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a program that does not end: %v", err)
	}
	pid := v.PID()
	v.Kill()
	if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("after Kill process %d: %v", pid, err)
	}
	if _, err := v.Run(context.Background(), "true"); !errors.Is(err, vm.ErrDown) {
		t.Errorf("a program after Kill: %v", err)
	}
}

// TestVMDiesWithTheTest: whoever boots a machine and is killed takes it along.
func TestVMDiesWithTheTest(t *testing.T) {
	pid := bootInChild(t)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			return
		}
		if time.Now().After(end) {
			_ = unix.Kill(pid, unix.SIGKILL)
			t.Fatalf("the machine, process %d, has outlived who booted it", pid)
		}
	}
}
