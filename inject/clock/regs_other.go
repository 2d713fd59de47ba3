//go:build !amd64

package clock

import "github.com/lockaudit/lockaudit/inject"

// within is never reached: ownImage refuses every other architecture.
func (s *stopped) within(*memory, ...[2]int) error { return inject.ErrUnsupported }
