//go:build vm

package vm_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/lab/vm"
	"github.com/lockaudit/lockaudit/lab/vm/wire"
)

// child has a copy of this program boot a machine and wait.
const child = "VM_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(child) == "" {
		os.Exit(m.Run())
	}
	v, err := vm.Boot(context.Background(), vm.Machine{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// Its init no longer hears that the harness is gone, and cannot end it.
	if _, err := v.Start(wire.Program{Argv: []string{"stop-parent"}}, os.Stderr, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for deaf := false; !deaf; {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := v.Run(ctx, "true")
		deaf = errors.Is(err, context.DeadlineExceeded)
		cancel()
	}
	fmt.Println(v.PID())
	select {}
}

// bootInChild returns the pid of a machine whose parent has just been killed.
func bootInChild(t *testing.T) int {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), child+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	var pid int
	if _, scan := fmt.Sscan(line, &pid); err != nil || scan != nil {
		_ = cmd.Process.Kill()
		t.Fatalf("the child said %q, %v, %v", line, err, cmd.Wait())
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return pid
}
