// Package vm boots virtual machines for tests of what must not be done to the
// machine that runs them, or that its kernel cannot do: Debian's cloud kernels
// under qemu's interpreter, a Go init, and the programs under test.
//
// A machine is one qemu process without a network to the outside, whose clock,
// modules and interfaces are its own. It dies with the test.
package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Machine is what to boot.
type Machine struct {
	Name    string // for people and files; "vm" if empty
	Kernel  Kernel // Bookworm if empty
	Modules []string
	// Programs are files of this machine, by their path in the other.
	Programs map[string]string
	// Files are small files, by their path.
	Files     map[string][]byte
	MemoryMiB int // 512 if 0
	// Disk is an image, as MakeDisk makes it, that appears as /disk and outlives
	// the machine. One machine at a time may have it.
	Disk string
	// IP is the address of its network interface, as 10.77.0.1/24, or several with
	// commas, and Net the cable that it hangs on; without them it has none.
	IP  string
	Net Net
	// Args are more arguments for qemu, such as network interfaces.
	Args []string
	// Append is added to the kernel's command line.
	Append string
	// NoInit leaves out the program that init is, for the test of a boot that fails.
	NoInit bool
}

// Marker is the word on a machine's kernel command line by which programs know
// that they are inside.
const Marker = "lockaudit.vm=inside"

// Inside reports that this process runs in a machine that this package has booted.
func Inside() bool {
	b, err := os.ReadFile("/proc/cmdline")
	return err == nil && inside(string(b))
}

func inside(cmdline string) bool {
	for _, word := range strings.Fields(cmdline) {
		if word == Marker {
			return true
		}
	}
	return false
}

// needed are the modules that the harness itself needs.
func (m Machine) needed() []string {
	need := []string{"virtio_pci", "virtio_console"}
	if m.Disk != "" {
		need = append(need, "virtio_blk")
	}
	if m.IP != "" {
		need = append(need, "virtio_net")
	}
	return append(need, m.Modules...)
}

// initramfs packs everything that the machine has.
func (m Machine) initramfs(k unpacked, guest []byte, to string) error {
	a := newArchive()
	for _, dir := range []string{"proc", "sys", "dev", "run", "tmp", "disk", "bin", "etc", "var"} {
		a.dir(dir)
	}
	if !m.NoInit {
		a.file("init", guest, 0o755)
	}
	for _, tool := range []string{"sleep", "cat", "true", "false", "write", "get", "stop-parent"} {
		a.link("bin/"+tool, "/init")
	}
	modules, err := k.withDependencies(m.needed())
	if err != nil {
		return err
	}
	for i, file := range modules {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		a.file(fmt.Sprintf("modules/%03d-%s", i, filepath.Base(file)), b, 0o644)
	}
	for at, file := range m.Programs {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		a.file(at, b, 0o755)
	}
	for at, b := range m.Files {
		a.file(at, b, 0o644)
	}
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(a.writeTo(f), f.Close())
}

// arguments are qemu's. Nothing of a user's configuration and no default device is
// taken: the machine has a serial console, the control channel, and what it asks for.
func (m Machine) arguments(k unpacked, dir string) []string {
	// no_timer_check: at boot the kernel counts timer interrupts over a few milliseconds, and
	// panics ("IO-APIC + timer doesn't work!") if qemu is not run meanwhile.
	line := "console=ttyS0 panic=-1 quiet loglevel=4 no_timer_check rdinit=/init PATH=/bin:/usr/bin " + Marker
	args := []string{
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-accel", "tcg", "-cpu", "max", "-smp", "1",
		"-m", fmt.Sprint(m.MemoryMiB), "-kernel", k.image, "-initrd", filepath.Join(dir, "initramfs"),
		"-chardev", "file,id=console,path=" + filepath.Join(dir, "console"), "-serial", "chardev:console",
		"-chardev", "socket,id=control,path=" + filepath.Join(dir, "control"),
		"-device", "virtio-serial-pci", "-device", "virtserialport,chardev=control,name=lockaudit",
	}
	if m.Disk != "" {
		line += " lockaudit_disk=1"
		args = append(args, "-drive", "file="+m.Disk+",format=raw,if=virtio,cache=writethrough")
	}
	if m.IP != "" {
		line += " lockaudit_ip=" + m.IP
		args = append(args, m.Net.arguments(m.IP)...)
	}
	return append(append(args, "-append", strings.TrimSpace(line+" "+m.Append)), m.Args...)
}

// MakeDisk makes an empty disk with a file system.
func MakeDisk(ctx context.Context, file string, mib int64) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	if err := errors.Join(f.Truncate(mib<<20), f.Close()); err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "/sbin/mkfs.ext4", "-q", "-F", file).CombinedOutput(); err != nil {
		return fmt.Errorf("make disk: mkfs.ext4: %w: %s", err, out)
	}
	return nil
}
