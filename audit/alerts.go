package audit

import (
	"path/filepath"

	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/record"
	"github.com/lockaudit/lockaudit/rules"
)

// Alerts reads the rules that the plan names; a relative path counts from the plan's folder.
func Alerts(p *plan.Plan, planPath string) ([]record.Alert, error) {
	path := p.Signals.Rules
	if path == "" {
		return nil, nil
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(planPath), path)
	}
	return rules.Load(path)
}
