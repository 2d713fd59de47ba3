package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// upFD is the descriptor on which a keeper finds the connection to its up.
const upFD = 3

// UpFile is the connection that spawn gives to a keeper.
func UpFile() *os.File { return os.NewFile(upFD, "up") }

func sessionLeader() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// spawn starts a keeper for the lab and returns it with this end of the
// connection to it. Without root it gets a user namespace of its own, in which
// the caller is root.
func spawn(p place, l Lab, program string, maxAge time.Duration) (*exec.Cmd, *os.File, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("find own program: %w", err)
	}
	log, err := os.OpenFile(p.file("keeper.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = log.Close() }()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to keeper: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "keeper"), os.NewFile(uintptr(pair[1]), "up")
	defer func() { _ = theirs.Close() }()

	cmd := exec.Command(self, "keep", "--dir", p.base, "--max-age", maxAge.String(), "--program", program, l.Name)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	cmd.ExtraFiles = []*os.File{theirs} // descriptor upFD
	cmd.SysProcAttr = isolated()
	if err := cmd.Start(); err != nil {
		return nil, nil, errors.Join(notAllowed(err), ours.Close())
	}
	return cmd, ours, nil
}

func isolated() *syscall.SysProcAttr {
	attr := sessionLeader()
	attr.Cloneflags = unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET
	if os.Geteuid() != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	return attr
}

func notAllowed(err error) error {
	err = fmt.Errorf("start keeper: %w", err)
	switch {
	case !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES):
		return err
	case os.Geteuid() == 0:
		return Hint(err, "this root may not make namespaces: CAP_SYS_ADMIN is needed (in a container: --privileged)")
	}
	return Hint(err, "unprivileged user namespaces are off on this machine: run as root, or see kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns")
}
