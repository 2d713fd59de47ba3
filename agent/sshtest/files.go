package sshtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// server is this machine's sshd, or the one that `make deps` has unpacked, and what it
// needs in its environment.
func server(t testing.TB) (path string, env []string) {
	t.Helper()
	if _, err := os.Stat("/usr/sbin/sshd"); err == nil {
		return "/usr/sbin/sshd", nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(cache, "lockaudit", "sshd")
	path = filepath.Join(root, "usr/sbin/sshd")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no sshd: run make deps (%v)", err)
	}
	libs, _ := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu")) // its pattern is right
	return path, []string{"LD_LIBRARY_PATH=" + strings.Join(libs, ":")}
}

// workDir is one through which the machine's users get; t.TempDir is not.
func workDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sshtest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// The users, besides root: their numbers are nobody else's.
var users = []string{"sre", "asking", "limited"}

const firstUID = 64200

// write makes the machine's files, and the ones of the desk.
func (m *Machine) write(t testing.TB) {
	t.Helper()
	file := func(name string, mode os.FileMode, lines ...string) {
		t.Helper()
		path := filepath.Join(m.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"bin", "home"} {
		if err := os.MkdirAll(filepath.Join(m.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	passwd := []string{"root:x:0:0::/root:/bin/sh", "nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin",
		"sshd:x:64199:65534::/run/sshd:/usr/sbin/nologin"}
	group, shadow := []string{"root:x:0:", "nogroup:x:65534:"}, []string{"root:*:19000:0:99999:7:::"}
	for i, u := range users {
		passwd = append(passwd, fmt.Sprintf("%s:x:%d:%d::%s/home:/bin/sh", u, firstUID+i, firstUID+i, m.dir))
		group = append(group, fmt.Sprintf("%s:x:%d:", u, firstUID+i))
		shadow = append(shadow, u+":*:19000:0:99999:7:::")
	}
	file("etc/passwd", 0o644, passwd...)
	file("etc/group", 0o644, group...)
	file("etc/shadow", 0o600, shadow...)
	file("etc/sudoers", 0o440,
		`Defaults secure_path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"`,
		"sre ALL=(root) NOPASSWD: ALL", "asking ALL=(root) ALL", "limited ALL=(root) NOPASSWD: /usr/local/bin/lockaudit-agent")

	for _, name := range []string{"host_key", "other_key", "id"} {
		keygen := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(m.dir, name))
		if out, err := keygen.CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v\n%s", err, out)
		}
	}
	public := func(name string) string {
		b, err := os.ReadFile(filepath.Join(m.dir, name+".pub"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	file("authorized_keys", 0o644, public("id"))
	file("known_hosts", 0o644, address+" "+public("host_key"))
	file("known_changed", 0o644, address+" "+public("other_key"))
	file("known_none", 0o644)
	file("sshd_config", 0o644, "HostKey "+m.dir+"/host_key", "AuthorizedKeysFile "+m.dir+"/authorized_keys",
		"PermitRootLogin prohibit-password", "PasswordAuthentication yes", "KbdInteractiveAuthentication no", "UsePAM no",
		"StrictModes no", "PidFile none", "LogLevel ERROR", "UseDNS no", "MaxStartups 100")

	var config []string
	host := func(name, user, known, key, ip string) {
		config = append(config, "Host "+name, "HostName "+ip, "User "+user, "UserKnownHostsFile "+m.dir+"/"+known,
			"IdentityFile "+m.dir+"/"+key)
	}
	host(Good, "sre", "known_hosts", "id", address)
	host(Root, "root", "known_hosts", "id", address)
	host(Asking, "asking", "known_hosts", "id", address)
	host(Limited, "limited", "known_hosts", "id", address)
	host(Stranger, "sre", "known_none", "id", address)
	host(Changed, "sre", "known_changed", "id", address)
	host(Password, "sre", "known_hosts", "other_key", address)
	host(WrongUser, "nosuchuser", "known_hosts", "id", address)
	config = append(config, "Host "+Deaf, "HostName "+address, "Port 2", "User sre")
	config = append(config, "Host *", "IdentitiesOnly yes", "IdentityAgent none", "GlobalKnownHostsFile /dev/null", "CheckHostIP no")
	file("ssh_config", 0o644, config...)
}
