package servers

import (
	"fmt"
	"io"
	"net/url"
	"os"

	"go.etcd.io/etcd/server/v3/embed"
)

// etcdVar, when set, makes a test binary an etcd server with its data there.
const etcdVar = "LOCKAUDIT_TEST_ETCD_DIR"

// Child makes this process the server that StartEtcd asked for, until its stdin
// ends. It returns false at once in a process that is no such child.
func Child() bool {
	dir := os.Getenv(etcdVar)
	if dir == "" {
		return false
	}
	if err := serveEtcd(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return true
}

func serveEtcd(dir string) error {
	config := embed.NewConfig()
	config.Dir = dir
	config.Logger = "zap"
	config.LogOutputs = []string{"stderr"}
	config.LogLevel = "error"
	// The shortest lease is 1.5 elections, rounded up to seconds.
	config.TickMs, config.ElectionMs = 50, 500
	// A killed process loses nothing that it has written; only a power cut would.
	config.UnsafeNoFsync = true
	any := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{any}, []url.URL{any}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{any}, []url.URL{any}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	server, err := embed.StartEtcd(config)
	if err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	defer server.Close()
	select {
	case <-server.Server.ReadyNotify():
	case err := <-server.Err():
		return fmt.Errorf("start etcd: %w", err)
	}
	fmt.Fprintln(os.Stdout, server.Clients[0].Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
