package crash

import (
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPokeTooLate: a standby that has become the server, or has ended, in the moment before has
// nothing any more that could be opened. The kernel says of one that ends just then that the
// permission is lacking; here it really is.
func TestPokeTooLate(t *testing.T) {
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	defer to.Close()
	server := exec.Command("sleep", "1000")
	server.ExtraFiles = []*os.File{from} // descriptor 3, as a standby's orders
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = server.Process.Kill(), server.Wait() })
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: it has lost its rights to root's files
		if err := unix.Setfsuid(65534); err != nil {
			result <- err
			return
		}
		result <- poke(server.Process.Pid, "id")
	}()
	if err := <-result; err != nil {
		t.Error(err)
	}
}
