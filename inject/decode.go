package inject

import (
	"fmt"

	"github.com/lockaudit/lockaudit/strict"
)

// DecodeStrict decodes one JSON value and refuses unknown fields and anything
// behind it: in orders and journals a field that is ignored is a limit that does
// not hold.
func DecodeStrict(b []byte, v any) error { return strict.Decode(b, v) }

// SameBoot fails with ErrGone if the plan was made before the machine last
// started: its pids, tables and handles mean nothing any more, or something else.
func (p Plan) SameBoot() error {
	boot, err := BootID()
	if err == nil && boot != p.BootID {
		err = fmt.Errorf("the plan is of boot %q, this is %s: %w", p.BootID, boot, ErrGone)
	}
	return err
}
