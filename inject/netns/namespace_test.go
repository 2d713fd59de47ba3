package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestEveryThreadComesBack: Enter borrows threads, and none of them, on which any
// goroutine may run next, stays in the other namespace; also if f fails.
func TestEveryThreadComesBack(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test makes a network namespace: run it as root, or under unshare -rn")
	}
	var there *os.File
	err := OnThrowawayThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			there, err = os.Open("/proc/thread-self/ns/net")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	n, err := Name{Path: fmt.Sprintf("/proc/self/fd/%d", there.Fd())}.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	other := fmt.Sprintf("net:[%d]", n.Ref.Inode)
	failure := errors.New("failure")
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			err := n.Enter(func() error {
				if at, err := os.Readlink("/proc/thread-self/ns/net"); err != nil || at != other {
					t.Errorf("inside: in %s, %v, want %s", at, err, other)
				}
				return failure
			})
			if !errors.Is(err, failure) {
				t.Errorf("enter: %v", err)
			}
		})
	}
	wg.Wait()
	// A thread that ends takes a moment.
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		strays := 0
		tasks, _ := filepath.Glob("/proc/self/task/*/ns/net")
		for _, path := range tasks {
			if at, err := os.Readlink(path); err == nil && at == other {
				strays++
			}
		}
		if strays == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d threads are still in the other namespace", strays, len(tasks))
		}
	}
}
