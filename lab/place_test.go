package lab

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestSharedDirectoryIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "labs")
	if err := makePrivate(dir); err != nil {
		t.Fatal(err)
	}
	if err := makePrivate(dir); err != nil {
		t.Errorf("own directory, second time: %v", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := makePrivate(dir); err == nil {
		t.Error("a directory that others can enter was taken")
	}
	link := dir + "-link"
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if err := makePrivate(link); err == nil {
		t.Error("a symbolic link was taken")
	}
}

func TestLockExcludes(t *testing.T) {
	base := filepath.Join(t.TempDir(), "labs")
	p := placeOf(base, All()[0])
	unlock, err := p.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := p.lock(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("second lock: %v", err)
	}
	// A waiter must notice that the directory it waited on was removed.
	got := make(chan error, 1)
	go func() {
		unlock, err := p.lock(t.Context())
		if err == nil {
			_, err = os.Stat(p.path)
			unlock()
		}
		got <- err
	}()
	if err := p.remove(); err != nil {
		t.Fatal(err)
	}
	unlock()
	if err := <-got; err != nil {
		t.Errorf("lock after a removal: %v", err)
	}
}

func TestIdentity(t *testing.T) {
	id, err := self()
	if err != nil {
		t.Fatal(err)
	}
	pidfd, err := openProcess(id)
	if err != nil {
		t.Fatalf("open own process: %v", err)
	}
	_ = pidfd.Close()
	other := id
	other.Start++
	if _, err := openProcess(other); !errors.Is(err, errGone) {
		t.Errorf("pid of another start time: %v", err)
	}
	other = id
	other.BootID = "another boot"
	if _, err := openProcess(other); !errors.Is(err, errGone) {
		t.Errorf("pid of another boot: %v", err)
	}
}

// TestEndedButNotCollected: a keeper whose parent has not waited for it is gone.
func TestEndedButNotCollected(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	start, err := startOf(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	id := identity{Pid: cmd.Process.Pid, Start: start, BootID: boot}
	pidfd, err := openProcess(id)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pidfd.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := kill(ctx, pidfd); err != nil {
		t.Fatal(err)
	}
	if _, err := openProcess(id); !errors.Is(err, errGone) {
		t.Errorf("a process that has ended: %v", err)
	}
}
