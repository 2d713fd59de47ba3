// Command guest is the init of a virtual machine under test: it mounts what
// programs expect, loads the modules that the harness has packed, and runs what
// the harness orders. It is everything that the machine has besides its kernel.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() != 1 {
		role()
		return
	}
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		down(unix.LINUX_REBOOT_CMD_POWER_OFF)
	}
	server, err := start("serve")
	if err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		down(unix.LINUX_REBOOT_CMD_POWER_OFF)
	}
	// Pid 1 takes in orphans and does nothing else: programs are the server's children,
	// whose statuses must not be taken from it.
	for {
		pid, err := unix.Wait4(-1, nil, 0, nil)
		if pid == server || err == unix.ECHILD {
			break
		}
	}
	fmt.Fprintln(os.Stderr, "guest: the server has ended")
	down(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// role is what this program is besides init: the server, or one of the few
// commands that tests expect on a machine.
func role() {
	err := fmt.Errorf("unknown command %q", os.Args)
	if name := filepath.Base(os.Args[0]); tools[name] != nil {
		err = tools[name](os.Args[1:])
	} else if len(os.Args) == 2 && os.Args[1] == "serve" {
		err = serve()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
}

func start(name string) (int, error) {
	cmd := exec.Command("/init", name)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	return cmd.Process.Pid, nil
}

func down(how int) {
	unix.Sync()
	_ = unix.Reboot(how)
	select {} // pid 1 must not return: the kernel would panic
}
