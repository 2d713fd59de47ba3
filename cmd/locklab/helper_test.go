package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// helper is what the tests run on the nodes of a lab.
func helper(args []string) int {
	if err := help(args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func help(args []string) error {
	switch args[0] {
	case "address":
		eth, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		addresses, err := eth.Addrs()
		if err != nil {
			return err
		}
		fmt.Println(addresses[0])
		return nil
	case "get": // URL [directory with certificates]
		return get(args[1], args[2:])
	case "read-as-nobody":
		// An unprivileged lab has only one user; there it is read as that.
		if unix.Setgroups(nil) == nil {
			if err := unix.Setresuid(65534, 65534, 65534); err != nil {
				return err
			}
		}
		_, err := os.ReadFile(args[1])
		return err
	case "orphan":
		// Leaves a child to pid 1 that ends soon after.
		_, err := os.StartProcess("/bin/sleep", []string{"sleep", "0.1"}, &os.ProcAttr{})
		return err
	case "zombies":
		fmt.Print(strings.Join(zombies(), " "))
		return nil
	case "wait-for-term": // FILE [ignore]: writes the signal's name to FILE
		return waitForTerm(args[1], len(args) > 2)
	}
	return fmt.Errorf("helper: unknown word %s", args[0])
}

func get(url string, certs []string) error {
	client := &http.Client{Timeout: 5 * time.Second}
	if len(certs) > 0 {
		ca, err := os.ReadFile(filepath.Join(certs[0], "ca.pem"))
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(ca)
		config := &tls.Config{RootCAs: roots}
		if len(certs) == 1 {
			pair, err := tls.LoadX509KeyPair(filepath.Join(certs[0], "client.pem"), filepath.Join(certs[0], "client-key.pem"))
			if err != nil {
				return err
			}
			config.Certificates = []tls.Certificate{pair}
		}
		client.Transport = &http.Transport{TLSClientConfig: config}
	}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	fmt.Print(resp.StatusCode, " ")
	_, err = io.Copy(os.Stdout, resp.Body)
	return err
}

func zombies() []string {
	var found []string
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, _ := os.ReadFile(path)
		if _, rest, ok := strings.Cut(string(stat), ") "); ok && rest[0] == 'Z' {
			found = append(found, string(stat))
		}
	}
	return found
}

func waitForTerm(file string, ignore bool) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	fmt.Println("ready")
	if err := os.WriteFile(file, []byte((<-signals).String()), 0o666); err != nil {
		return err
	}
	for ignore {
		<-signals
	}
	os.Exit(42)
	return nil
}
