package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/conformance"
	"github.com/lockaudit/lockaudit/locks/locktest/servers"
)

// lookWithTLS: each way to get TLS wrong has its own answer.
func lookWithTLS(t *testing.T, bin string) {
	dir := t.TempDir()
	privateAuthority(t, dir)
	file := func(name string) string { return filepath.Join(dir, name) }
	port := strconv.Itoa(conformance.Port(t))
	servers.StartRedis(t, "--tls-port", port, "--tls-cert-file", file("server.pem"), "--tls-key-file", file("server-key.pem"), "--tls-ca-cert-file", file("ca.pem"))
	l := newLooker(t, bin, "rediss://127.0.0.1:"+port)

	if status, out := l.init(t, "--ca", file("ca.pem"), "--cert", file("client.pem"), "--cert-key", file("client-key.pem")); status != exitInconclusive {
		t.Fatalf("with authority and certificate: status %d\n%s", status, out)
	}
	plan := l.readPlan(t)
	if !strings.Contains(plan, `tls: {ca: "`+file("ca.pem")) || !strings.Contains(plan, `endpoints: ["rediss://`) {
		t.Errorf("the plan does not say how TLS is spoken:\n%s", plan)
	}
	if status, out := l.run(t, "inspect", "plan.yaml"); status != exitFail || !strings.Contains(out, "no letter") {
		t.Errorf("inspect: status %d\n%s", status, out)
	}
	for _, tt := range []struct {
		hint, url string
		args      []string
	}{
		{"hint: --ca names the file", l.url, nil},
		{"hint: it asks for a client certificate", l.url, []string{"--ca", file("ca.pem")}},
		{"hint: it speaks TLS: rediss://", strings.Replace(l.url, "rediss", "redis", 1), nil},
		{"hint: --server-name", l.url, []string{"--ca", file("ca.pem"), "--server-name", "elsewhere"}},
	} {
		wrong := &looker{bin: l.bin, dir: l.dir, url: tt.url}
		if status, out := wrong.init(t, tt.args...); status != exitCouldNotRun || !strings.Contains(out, tt.hint) {
			t.Errorf("%v: status %d, want %q\n%s", tt.args, status, tt.hint, out)
		}
	}
}

// privateAuthority writes ca.pem, and a certificate of its own for a server on
// loopback and for a client.
func privateAuthority(t *testing.T, dir string) {
	t.Helper()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "private authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	caKey := newKey(t)
	issue := func(name string, cert *x509.Certificate, key *ecdsa.PrivateKey) {
		der, err := x509.CreateCertificate(rand.Reader, cert, ca, &key.PublicKey, caKey)
		if err != nil {
			t.Fatal(err)
		}
		secret, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + "-key.pem": {Type: "EC PRIVATE KEY", Bytes: secret}} {
			// Lock clients, which run unprivileged, read them too.
			if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	issue("ca", ca, caKey)
	for i, name := range []string{"server", "client"} {
		issue(name, &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 2)), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
			KeyUsage:    x509.KeyUsageDigitalSignature, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		}, newKey(t))
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
