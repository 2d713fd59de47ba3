package nats_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/locktest"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
	"github.com/lockaudit/lockaudit/locks/nats"
)

// serverVar, when set, makes this test binary a NATS server with these options.
const serverVar = "LOCKAUDIT_TEST_NATS"

func TestMain(m *testing.M) {
	if text := os.Getenv(serverVar); text != "" {
		if err := serve(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if locktest.Child(nats.Driver{}) {
		return
	}
	os.Exit(m.Run())
}

// config is what a server of the tests is told.
type config struct {
	Dir            string
	User, Password string
	Cert, Key      string
	NoJetStream    bool
}

// serve is a server with its data in a directory, until its stdin ends.
func serve(text string) error {
	var c config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	o := &server.Options{
		ServerName: "n" + strconv.Itoa(os.Getpid()), Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: !c.NoJetStream, StoreDir: c.Dir, NoSigs: true, NoLog: true,
		Username: c.User, Password: c.Password,
	}
	if c.Cert != "" {
		var err error
		o.TLS, o.TLSTimeout = true, 10
		if o.TLSConfig, err = server.GenTLSConfig(&server.TLSConfigOpts{CertFile: c.Cert, KeyFile: c.Key}); err != nil {
			return err
		}
	}
	s, err := server.NewServer(o)
	if err != nil {
		return err
	}
	s.Start()
	defer s.Shutdown()
	if !s.ReadyForConnections(time.Minute) {
		return fmt.Errorf("the server does not become ready")
	}
	fmt.Println(s.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// ttl of the test's bucket: one for all its keys, so that a hold which a check wants to
// last does so on a busy machine.
const ttl = 2 * time.Second

func start(tb testing.TB, c config) (locks.Target, *servers.Server) {
	tb.Helper()
	c.Dir = tb.TempDir()
	b, err := json.Marshal(c)
	if err != nil {
		tb.Fatal(err)
	}
	s := servers.StartSelf(tb, serverVar+"="+string(b))
	return locks.Target{
		Backend: "nats", Endpoints: []string{s.Endpoint}, TTL: ttl, Username: c.User, Password: c.Password,
		Options: json.RawMessage(`{"create": true}`),
	}, s
}

func TestConformance(t *testing.T) {
	locktest.Run(t, locktest.Subject{Driver: nats.Driver{}, TTL: ttl, Start: func(tb testing.TB) (locks.Target, locktest.Server) {
		return start(tb, config{})
	}})
}
