package crash

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target"
)

// capsOf is one of a process's capability sets, by its name in /proc: CapEff, CapBnd.
func capsOf(pid, set string) (uint64, error) {
	b, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0, fmt.Errorf("read status of process %s: %w", pid, err)
	}
	for line := range strings.Lines(string(b)) {
		if hex, ok := strings.CutPrefix(line, set+":"); ok {
			return strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		}
	}
	return 0, fmt.Errorf("read status of process %s: no %s", pid, set)
}

// refuseBeyond refuses to start a server as it was that would not be as it was: it has
// capabilities that nothing can have which this process starts. The bounding set of the
// agent's systemd unit leaves most of them out.
func refuseBeyond(t target.Target) error {
	has, err := capsOf(strconv.Itoa(t.PID), "CapEff")
	if err != nil {
		return err
	}
	may, err := capsOf("self", "CapBnd")
	if err != nil {
		return err
	}
	lost := has &^ may
	if lost == 0 {
		return nil
	}
	return fmt.Errorf("process %d (%s) has the capabilities %016x, which this agent cannot give it again (capsh --decode says which); "+
		"run it as a unit, start the agent with them, or name the command that starts it (restart): %w", t.PID, t.Comm, lost, inject.ErrUnsupported)
}
