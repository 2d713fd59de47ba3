package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Down takes a lab down and returns once nothing of it is left. It reports
// whether there was anything.
func Down(ctx context.Context, base string, l Lab) (found bool, err error) {
	p := placeOf(base, l)
	if _, err := os.Stat(p.path); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	// Killed before the lock is taken, because an up that is still starting this
	// keeper holds it, and gives it back as soon as the keeper is gone.
	if err := p.killKeeper(ctx); err != nil {
		return true, fmt.Errorf("take down %s: %w", l.Name, err)
	}
	unlock, err := p.lock(ctx)
	if err != nil {
		return true, fmt.Errorf("take down %s: %w", l.Name, err)
	}
	defer unlock()
	// Another up may have been quicker.
	if err := p.killKeeper(ctx); err != nil {
		return true, fmt.Errorf("take down %s: %w", l.Name, err)
	}
	if err := p.remove(); err != nil {
		return true, fmt.Errorf("take down %s: %w", l.Name, err)
	}
	return true, nil
}

// killKeeper ends the keeper, if there is one, and checks that all that was in
// its namespaces has ended with it.
func (p place) killKeeper(ctx context.Context) error {
	id, err := p.readKeeper()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	pidfd, err := openProcess(id)
	if errors.Is(err, errGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = pidfd.Close() }()
	if err := kill(ctx, pidfd); err != nil {
		return err
	}
	if left := processesIn(id.Namespaces); len(left) > 0 {
		return Hint(fmt.Errorf("check that nothing is left: processes in the lab's namespaces: %s", strings.Join(left, ", ")),
			"they entered from outside: end them, then: locklab down "+filepath.Base(p.path))
	}
	return nil
}

// processesIn lists the processes in any of the namespaces, as far as this user
// may see them. One that has ended and was only not collected yet, as the keeper
// itself may be, runs nothing and does not count.
func processesIn(namespaces []string) []string {
	var found []string
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, process := range processes {
		for _, kind := range []string{"pid", "net"} {
			link, err := os.Readlink(filepath.Join(process, "ns", kind))
			if err == nil && slices.Contains(namespaces, link) && runs(process) {
				found = append(found, filepath.Base(process))
				break
			}
		}
	}
	return found
}

// runs reports whether the process at that path of /proc has not ended.
func runs(process string) bool {
	stat, err := os.ReadFile(filepath.Join(process, "stat"))
	if err != nil {
		return false
	}
	// The state follows the command, which is in parentheses and may hold anything.
	_, rest, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}
