package partition_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/agent"
	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/partition"
)

// pipeTo has this binary connect its stdio with a TCP address, as a transport does.
const pipeTo = "PARTITION_TEST_PIPE_TO"

func pipe(address string) {
	c, err := net.DialTimeout("tcp", address, hang)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go func() {
		_, _ = io.Copy(c, os.Stdin)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(os.Stdout, c)
}

// inetd serves one connection on a host with a real agent, whose stdin and stdout
// it is. The agent is no child of this test, whose connections would be kept too.
func inetd(t *testing.T, h *host, env ...string) (address string) {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "lockaudit-agent")
	if out, err := exec.Command("go", "build", "-o", exe, "../../cmd/lockaudit-agent").CombinedOutput(); err != nil {
		t.Fatalf("build agent: %v: %s", err, out)
	}
	var l net.Listener
	h.in(func() (err error) {
		l, err = net.Listen("tcp", "10.99.0.1:0")
		return err
	})
	t.Cleanup(func() { l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		f, err := c.(*net.TCPConn).File()
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		if err := h.tryIn(func() error {
			cmd := exec.Command("sh", "-c", `"$0" <&3 >&3 3>&- &`, exe)
			cmd.Env, cmd.ExtraFiles = append(os.Environ(), env...), []*os.File{f}
			return cmd.Run()
		}); err != nil {
			t.Error(err)
		}
	}()
	return l.Addr().String()
}

// speaks says whether a connection carries bytes there and back within d.
func speaks(c net.Conn, d time.Duration) bool {
	_ = c.SetDeadline(time.Now().Add(d))
	if _, err := c.Write([]byte("ping")); err != nil {
		return false
	}
	b := make([]byte, 4)
	_, err := io.ReadFull(c, b)
	return err == nil
}

// TestPartitionEverything cuts a host off from 0.0.0.0/0 and ::/0, for real, by an
// agent that is ordered about over TCP. What is left are the control connection,
// the SSH connection, and what is protected.
func TestPartitionEverything(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	before := a.snapshot()
	kept, network, lost, lost6 := echo(b, "udp", "10.99.0.2:0"), echo(b, "udp", "10.99.0.2:0"), echo(b, "udp", "10.99.0.2:0"), echo(b, "udp", "[fd99::2]:0")
	sshd, other := echo(a, "tcp", "10.99.0.1:0"), echo(a, "tcp", "10.99.0.1:0")
	ssh, tcp := b.dial("tcp", sshd.addr), b.dial("tcp", other.addr)
	client, server := ssh.LocalAddr().(*net.TCPAddr), ssh.RemoteAddr().(*net.TCPAddr)

	address := inetd(t, a, "LOCKAUDIT_STATE="+t.TempDir(),
		fmt.Sprintf("SSH_CONNECTION=%s %d %s %d", client.IP, client.Port, server.IP, server.Port))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := agent.Dial(testContext(t), agent.Command{
		Argv: []string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", b.pid()), self}, Env: []string{pipeTo + "=" + address},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	everything := func(protect ...string) inject.Spec {
		params, err := json.Marshal(partition.Params{Peers: []string{"0.0.0.0/0", "::/0"}, Protect: protect})
		if err != nil {
			t.Fatal(err)
		}
		return inject.Spec{Kind: partition.Kind, For: long, Params: params}
	}
	f, err := conn.Inject(testContext(t), everything(kept.addr))
	if err != nil {
		t.Fatal(err)
	}
	for what, dead := range map[string]bool{
		"IPv4":                    a.ping(lost.addr, 300*time.Millisecond),
		"IPv6":                    a.ping(lost6.addr, 300*time.Millisecond),
		"an established stream":   speaks(tcp, 300*time.Millisecond),
		"a new connection to us":  b.ping(other.addr, 300*time.Millisecond),
		"an unprotected endpoint": a.ping(network.addr, 300*time.Millisecond),
	} {
		if dead {
			t.Errorf("%s is not cut off", what)
		}
	}
	if !a.ping(kept.addr, hang) {
		t.Error("a protected endpoint is cut off")
	}
	if !speaks(ssh, hang) {
		t.Error("the SSH connection is cut off")
	}
	// It has to carry the rest of this test as well.
	if list, err := conn.Faults(testContext(t)); err != nil || len(list) != 1 {
		t.Fatalf("the control connection: %v, %v", list, err)
	}
	said := strings.Join(f.Plan.Objects, "\n")
	if !strings.Contains(said, "keep the control connection from 10.99.0.2:") || !strings.Contains(said, "keep everything with "+kept.addr) {
		t.Errorf("objects:\n%s", said)
	}
	if _, err := conn.Revert(testContext(t), f.ID); err != nil {
		t.Fatal(err)
	}
	if !a.ping(lost.addr, hang) || !a.ping(lost6.addr, hang) {
		t.Error("not healed")
	}
	// A whole network can be protected; a peer in it is refused.
	if f, err = conn.Inject(testContext(t), everything("10.99.0.0/24")); err != nil {
		t.Fatal(err)
	}
	if !a.ping(network.addr, hang) || a.ping(lost6.addr, 300*time.Millisecond) {
		t.Error("not exactly the protected network is left")
	}
	if _, err := conn.Revert(testContext(t), f.ID); err != nil {
		t.Fatal(err)
	}
	inside := inject.Spec{Kind: partition.Kind, For: long, Params: []byte(`{"peers":["10.99.0.2"],"protect":["10.99.0.0/24"]}`)}
	if _, err := conn.Inject(testContext(t), inside); !errors.Is(err, inject.ErrRefused) || !strings.Contains(err.Error(), "protected network") {
		t.Errorf("a peer in a protected network: %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if now := a.snapshot(); now != before {
		t.Errorf("after all:\n%s\nbefore:\n%s", now, before)
	}
}
