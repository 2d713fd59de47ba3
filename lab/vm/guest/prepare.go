package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// prepare makes a machine of a kernel and an archive.
func prepare() error {
	for _, m := range []struct{ kind, at, options string }{
		{"proc", "/proc", ""}, {"sysfs", "/sys", ""}, {"devtmpfs", "/dev", ""},
		{"tmpfs", "/run", "mode=0755"}, {"tmpfs", "/tmp", "mode=1777"}, {"devpts", "/dev/pts", ""},
		{"cgroup2", "/cgroup", ""}, // the usual place is left to a systemd under test
	} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, m.options); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	// What devtmpfs leaves to udev.
	for name, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(to, "/dev/"+name); err != nil {
			return err
		}
	}
	if err := loadModules(); err != nil {
		return err
	}
	if err := upLoopback(); err != nil {
		return err
	}
	if err := upNetwork(os.Getenv("lockaudit_ip")); err != nil {
		return err
	}
	return mountDisk()
}

// loadModules loads /modules/NNN-name.ko in the order of the numbers.
func loadModules() error {
	files, err := filepath.Glob("/modules/*.ko")
	if err != nil {
		return err
	}
	for _, file := range files { // sorted by Glob
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load module %s: %w", file, err)
		}
	}
	return nil
}

// mountDisk mounts the disk that outlives a boot, if the machine has one. The
// kernel finds it a moment after its driver.
func mountDisk() error {
	if len(os.Getenv("lockaudit_disk")) == 0 { // from the kernel's command line
		return nil
	}
	if err := os.MkdirAll("/disk", 0o755); err != nil {
		return err
	}
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err = unix.Mount("/dev/vda", "/disk", "ext4", 0, ""); err == nil || !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENXIO) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("mount disk: %w", err)
	}
	return nil
}
