package servers

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/conformance"
)

// ZooKeeperTick of the test servers: sessions time out after two of them or more.
const ZooKeeperTick = 200 * time.Millisecond

// jars of Debian's packages: zookeeper.jar names most of what it needs itself.
var jars = []string{
	"/usr/share/java/zookeeper.jar", "/usr/share/java/slf4j-simple.jar",
	"/usr/share/java/servlet-api.jar", "/usr/share/java/netty-codec.jar", "/usr/share/java/netty-resolver.jar", "/usr/share/java/netty-transport-native-unix-common.jar",
}

// ZooKeeper says how a test server differs from the usual one.
type ZooKeeper struct {
	// Lines of its configuration, and properties of its Java machine (name=value).
	Lines, Properties []string
	// TLS: the endpoint is the secure port, with this certificate, and a plain one exists
	// besides for the wait until it is up.
	TLS *Certs
	// ID in an ensemble; its Port is then for clients, and the file of the servers' names
	// is in Lines.
	ID, Port int
}

// StartZooKeeper starts a server of Debian's packages on a free port. The service of that
// package is another one, and is not needed.
func StartZooKeeper(tb testing.TB, z ZooKeeper) *Server {
	tb.Helper()
	s, plain := z.start(tb)
	if err := AwaitZooKeeper(plain); err != nil {
		tb.Fatalf("start zookeeper: %v\n%s", err, z.log(s))
	}
	return s
}

// start starts it and does not wait: one of an ensemble waits for the others.
func (z ZooKeeper) start(tb testing.TB) (s *Server, plain string) {
	tb.Helper()
	java, err := exec.LookPath("java")
	if err != nil {
		tb.Fatalf("find java (apt-get install default-jre-headless libzookeeper-java): %v", err)
	}
	dir := tb.TempDir()
	if z.Port == 0 {
		z.Port = conformance.Port(tb)
	}
	plain = fmt.Sprintf("127.0.0.1:%d", z.Port)
	endpoint := plain
	config := fmt.Sprintf("tickTime=%d\ninitLimit=50\nsyncLimit=10\nmaxSessionTimeout=60000\ndataDir=%s\nclientPortAddress=127.0.0.1\nclientPort=%d\n4lw.commands.whitelist=*\n",
		ZooKeeperTick.Milliseconds(), dir, z.Port)
	if z.TLS != nil {
		both := filepath.Join(dir, "server-and-key.pem")
		joinFiles(tb, both, z.TLS.Key, z.TLS.Cert)
		port := conformance.Port(tb)
		endpoint = fmt.Sprintf("127.0.0.1:%d", port)
		config += fmt.Sprintf("secureClientPort=%d\nserverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\nssl.keyStore.location=%s\nssl.trustStore.location=%s\n", port, both, z.TLS.CA)
	}
	config += strings.Join(z.Lines, "\n") + "\n"
	file := filepath.Join(dir, "zoo.cfg")
	err = os.WriteFile(file, []byte(config), 0o600)
	if err == nil && z.ID > 0 {
		err = os.WriteFile(filepath.Join(dir, "myid"), fmt.Appendln(nil, z.ID), 0o600)
	}
	log, logErr := os.Create(filepath.Join(dir, "log"))
	if err != nil || logErr != nil {
		tb.Fatal(err, logErr)
	}
	defer log.Close()
	argv := []string{ // small, and quick to start
		"-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dzookeeper.admin.enableServer=false", "-Dzookeeper.jmx.log4j.disable=true",
	}
	for _, p := range z.Properties {
		argv = append(argv, "-D"+p)
	}
	argv = append(argv, "-cp", strings.Join(jars, ":"), "org.apache.zookeeper.server.quorum.QuorumPeerMain", file)
	cmd := exec.Command(java, argv...)
	cmd.Stderr = log
	s, _ = start(tb, cmd)
	s.Endpoint = endpoint
	return s, plain
}

func (z ZooKeeper) log(s *Server) string {
	said, err := os.ReadFile(filepath.Join(filepath.Dir(s.cmd.Args[len(s.cmd.Args)-1]), "log"))
	if err != nil {
		return err.Error()
	}
	return string(said)
}

// StartEnsemble starts several servers that elect a leader; those behind the first voters
// are observers, which have no vote.
func StartEnsemble(tb testing.TB, voters, observers int) []*Server {
	tb.Helper()
	var names []string
	ports := make([]int, voters+observers)
	for i := range ports {
		role := "participant"
		if i >= voters {
			role = "observer"
		}
		ports[i] = conformance.Port(tb)
		names = append(names, fmt.Sprintf("server.%d=127.0.0.1:%d:%d:%s;127.0.0.1:%d", i+1, conformance.Port(tb), conformance.Port(tb), role, ports[i]))
	}
	list := filepath.Join(tb.TempDir(), "servers")
	var all []*Server
	for i := range ports {
		own := fmt.Sprintf("%s-%d", list, i+1) // each server rewrites its own
		if err := os.WriteFile(own, []byte(strings.Join(names, "\n")+"\n"), 0o600); err != nil {
			tb.Fatal(err)
		}
		z := ZooKeeper{ID: i + 1, Port: ports[i], Lines: []string{"dynamicConfigFile=" + own}}
		s, _ := z.start(tb)
		all = append(all, s)
	}
	for _, s := range all {
		if err := AwaitZooKeeper(s.Endpoint); err != nil {
			tb.Fatalf("start ensemble: %v\n%s", err, ZooKeeper{}.log(s))
		}
	}
	return all
}

// AwaitZooKeeper waits until a server serves: it says as much to the word srvr.
func AwaitZooKeeper(addr string) error {
	said, err := "", fmt.Errorf("never tried")
	for deadline := time.Now().Add(readyLimit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if said, err = srvr(addr); err == nil && strings.Contains(said, "Mode: ") {
			return nil
		}
	}
	return fmt.Errorf("wait for %s: %q, %w", addr, said, err)
}

func srvr(addr string) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, "srvr"); err != nil {
		return "", err
	}
	said, err := io.ReadAll(conn)
	return string(said), err
}

func joinFiles(tb testing.TB, path string, parts ...string) {
	tb.Helper()
	var all []byte
	for _, p := range parts {
		b, err := os.ReadFile(p)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, b...)
	}
	if err := os.WriteFile(path, all, 0o600); err != nil {
		tb.Fatal(err)
	}
}
