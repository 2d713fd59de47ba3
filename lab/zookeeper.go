package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// ZooKeeper in a lab, of Debian's packages: clients come by TLS alone. Its times are short,
// so that a leader is missed after two and a half seconds, and not so short that a busy
// machine misses one that is there. Sessions last from 0.5 s to 5 s.
const (
	zookeeperPort = 2281
	zookeeperTick = 250 // milliseconds
	// syncTicks is how long a follower may be out of touch with its leader; until then it
	// goes on serving its clients.
	syncTicks = 10
)

// javaLibraries is where Debian's packages put them.
const javaLibraries = "/usr/share/java"

// zookeeperJars: the first names most of what it needs, and these are missing there.
var zookeeperJars = []string{"zookeeper.jar", "slf4j-simple.jar", "netty-codec.jar", "netty-resolver.jar", "netty-transport-native-unix-common.jar"}

// findZooKeeper returns the Java that runs it.
func findZooKeeper() (string, error) {
	for _, jar := range zookeeperJars {
		if _, err := os.Stat(filepath.Join(javaLibraries, jar)); errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return exec.LookPath("java")
}

// zookeeper is one server of the ensemble.
func (l Lab) zookeeper(n Node, java string) server {
	data := filepath.Join(dataDir, n.Name)
	file := filepath.Join(data, "zoo.cfg")
	config := []string{
		fmt.Sprintf("tickTime=%d", zookeeperTick), "initLimit=60", fmt.Sprintf("syncLimit=%d", syncTicks),
		"dataDir=" + data, "admin.enableServer=false", "4lw.commands.whitelist=srvr,conf,mntr,cons",
		"serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
		fmt.Sprintf("secureClientPort=%d", zookeeperPort), "secureClientPortAddress=" + n.IP,
		"ssl.keyStore.location=" + filepath.Join(tlsDir, serverPairFile), "ssl.trustStore.location=" + filepath.Join(tlsDir, caFile),
		"ssl.hostnameVerification=false", // of the clients, whose certificate names no address
	}
	own := 0
	for i, other := range l.withRole(RoleLock) {
		config = append(config, fmt.Sprintf("server.%d=%s:2888:3888", i+1, other.IP))
		if other.Name == n.Name {
			own = i + 1
		}
	}
	var path []string
	for _, jar := range zookeeperJars {
		path = append(path, filepath.Join(javaLibraries, jar))
	}
	return server{
		name: n.Name, node: n, kind: kindZooKeeper,
		files: map[string]string{file: strings.Join(config, "\n") + "\n", filepath.Join(data, "myid"): strconv.Itoa(own) + "\n"},
		argv: []string{
			java, "-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Djava.net.preferIPv4Stack=true",
			"-Dzookeeper.jmx.log4j.disable=true", "-Dorg.slf4j.simpleLogger.showDateTime=true",
			"-cp", strings.Join(path, ":"), "org.apache.zookeeper.server.quorum.QuorumPeerMain", file,
		},
	}
}

// zookeeper asks a server what it is: one that is part of no quorum says that it does not
// serve.
func (p *prober) zookeeper(ctx context.Context, n Node) error {
	conn, err := p.dial(ctx, "tcp", net.JoinHostPort(n.IP, strconv.Itoa(zookeeperPort)))
	if err != nil {
		return err
	}
	config := p.tls.Clone()
	config.ServerName = n.IP
	secure := tls.Client(conn, config)
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := io.WriteString(secure, "srvr"); err != nil {
		return err
	}
	said, err := io.ReadAll(io.LimitReader(secure, 4096))
	if !strings.Contains(string(said), "Mode: ") {
		return fmt.Errorf("it says %q: %w", strings.TrimSpace(string(said)), err)
	}
	return nil
}
