package redis

import (
	"crypto/tls"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/lockaudit/lockaudit/conformance"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
)

// TestLastWord: a server that wants a client certificate says so after the handshake. Who
// writes to it at once may see nothing but a reset connection.
func TestLastWord(t *testing.T) {
	certs := servers.NewCerts(t)
	port := strconv.Itoa(conformance.Port(t))
	servers.StartRedis(t, "--tls-port", port, "--tls-cert-file", certs.Cert, "--tls-key-file", certs.Key, "--tls-ca-cert-file", certs.CA)
	ask := func(config *tls.Config) error {
		return reason(t.Context(), &redis.Options{Addr: "127.0.0.1:" + port, TLSConfig: config}, syscall.ECONNRESET)
	}
	config, err := (&locks.TLS{CAFile: certs.CA}).Config()
	if err != nil {
		t.Fatal(err)
	}
	if err := ask(config); err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("without a certificate: %v", err)
	}
	if config.Certificates, err = ownCertificate(certs); err != nil {
		t.Fatal(err)
	}
	if err := ask(config); err != nil {
		t.Errorf("with one nothing is wrong: %v", err)
	}
}

func ownCertificate(c servers.Certs) ([]tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	return []tls.Certificate{pair}, err
}
