package audit

import (
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/plan"
)

// TestOnNode: a command of the agent's program goes the agent's way, with its flags, and
// is not joined to the agent that systemd runs.
func TestOnNode(t *testing.T) {
	for _, tt := range []struct {
		agent []string
		want  string
	}{
		{[]string{"lockaudit-agent"}, "ssh app-a sudo lockaudit-agent doctor -f json"},
		{[]string{"lockaudit-agent", "connect"}, "ssh app-a sudo lockaudit-agent doctor -f json"},
		{[]string{"/opt/lockaudit-agent", "--max-for", "30s"}, "ssh app-a sudo /opt/lockaudit-agent --max-for 30s doctor -f json"},
	} {
		n := plan.Node{Name: "a", Via: []string{"ssh", "app-a", "sudo"}, Agent: tt.agent}
		if got := strings.Join(OnNode(n, "doctor", "-f", "json"), " "); got != tt.want {
			t.Errorf("%s, want %s", got, tt.want)
		}
		if len(n.Agent) != len(tt.agent) {
			t.Error("the plan was changed")
		}
	}
}
