package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Names of the files that writeCerts makes in its directory.
const (
	caFile         = "ca.pem"
	serverCertFile = "server.pem"
	serverKeyFile  = "server-key.pem"
	serverPairFile = "server-pair.pem"
	clientCertFile = "client.pem"
	clientKeyFile  = "client-key.pem"
)

// certLife is how long a lab's certificates are valid, from one hour ago, so that
// a fault that moves a clock by minutes does not break TLS.
const certLife = 30 * 24 * time.Hour

// writeCerts makes an authority for this lab alone, whose key is never stored,
// and with it a certificate for the servers and one for the clients. The client's
// key is readable for every user of the lab, because lock clients run
// unprivileged; the directory is on the lab's private tmpfs.
func writeCerts(dir string, servers []Node) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make certificates: %w", err)
	}
	a, err := newAuthority()
	if err != nil {
		return fmt.Errorf("make certificates: %w", err)
	}
	if err := writePEM(filepath.Join(dir, caFile), "CERTIFICATE", a.cert.Raw, 0o644); err != nil {
		return err
	}
	ips := []net.IP{net.IPv4(127, 0, 0, 1)}
	for _, s := range servers {
		ips = append(ips, net.ParseIP(s.IP))
	}
	// Members of a cluster are clients of each other too.
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if err := a.issue(dir, serverCertFile, serverKeyFile, 0o600, "lock server", both, ips); err != nil {
		return err
	}
	if err := joinPair(dir); err != nil {
		return err
	}
	return a.issue(dir, clientCertFile, clientKeyFile, 0o644, "lockaudit", both[1:], nil)
}

// joinPair writes the servers' key and certificate into one file, as ZooKeeper reads them.
func joinPair(dir string) error {
	key, err := os.ReadFile(filepath.Join(dir, serverKeyFile))
	if err != nil {
		return fmt.Errorf("read key: %w", err)
	}
	cert, err := os.ReadFile(filepath.Join(dir, serverCertFile))
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, serverPairFile), append(key, cert...), 0o600); err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	return nil
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority() (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, err
	}
	template, err := newTemplate("locklab")
	if err != nil {
		return authority{}, err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return authority{cert, key}, err
}

func newTemplate(name string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(certLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}, nil
}

func (a authority) issue(dir, certName, keyName string, keyMode os.FileMode, name string, use []x509.ExtKeyUsage, ips []net.IP) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	template, err := newTemplate(name)
	if err != nil {
		return fmt.Errorf("make certificate: %w", err)
	}
	template.ExtKeyUsage, template.IPAddresses = use, ips
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("sign certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode key: %w", err)
	}
	if err := writePEM(filepath.Join(dir, keyName), "PRIVATE KEY", keyDER, keyMode); err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, certName), "CERTIFICATE", der, 0o644)
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode); err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	// Whatever the umask is, clients must be able to read theirs.
	return os.Chmod(path, mode)
}
