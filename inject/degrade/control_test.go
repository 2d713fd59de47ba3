package degrade_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/lockaudit/lockaudit/inject/degrade"

	"github.com/vishvananda/netlink"
)

// controlRole makes this binary the transport of an agent, or the agent.
const controlRole = "DEGRADE_TEST_CONTROL"

// TestKeepsControl: the agent's parent holds a TCP connection with another address, as
// an inetd does: it is left as it is, named for what it is.
func TestKeepsControl(t *testing.T) {
	cmd := controlled("transport")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want, kept, _ := strings.Cut(string(out), "\n")
	if !strings.Contains(kept, "the control connection from "+want+"\n") || !strings.Contains(kept, "the SSH connection from 10.98.0.1:4000 to port 22\n") {
		t.Errorf("kept are:\n%swant that from %s", kept, want)
	}
}

func controlled(role string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{controlRole + "=" + role, "SSH_CONNECTION=10.98.0.1 4000 10.98.0.1 22"}
	return cmd
}

func playControl(role string) error {
	if role == "agent" {
		said, err := degrade.Kept([]byte(`{"peers":["10.98.0.0/24"],"delay":1000}`))
		for _, s := range said {
			fmt.Println(s)
		}
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 98, 0, 1), Mask: net.CIDRMask(32, 32)}}); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "10.98.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Printf("%v to port %d\n", c.RemoteAddr(), c.LocalAddr().(*net.TCPAddr).Port)
	cmd := controlled("agent")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}
