package crash

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/lockaudit/lockaudit/inject"
)

// apply replaces what the order names.
func (im *image) apply(r Restart) (err error) {
	if len(r.Argv) == 0 || r.Argv[0] == "" {
		return fmt.Errorf("restart.argv is empty: %w", inject.ErrRefused)
	}
	im.Argv = r.Argv
	if im.Exe, err = inject.FindProgram(r.Argv[0]); err != nil {
		return fmt.Errorf("restart command: %w", err)
	}
	if err := inject.CheckEnv(r.Env); err != nil {
		return fmt.Errorf("restart.env: %w", err)
	}
	if len(r.Env) > 0 {
		im.Env = r.Env
	}
	if r.Dir != "" {
		im.Dir = r.Dir
	}
	if !filepath.IsAbs(im.Dir) || r.Log != "" && !filepath.IsAbs(r.Log) {
		return fmt.Errorf("restart.dir %q or restart.log %q is not an absolute path: %w", im.Dir, r.Log, inject.ErrRefused)
	}
	if r.Log != "" {
		im.Stdout, im.Stderr = r.Log, r.Log
	}
	if r.UID != nil {
		im.UID, im.Groups = *r.UID, nil
	}
	if r.GID != nil {
		im.GID = *r.GID
	}
	if (im.UID != uint32(os.Geteuid()) || im.GID != uint32(os.Getegid())) && !inject.MachineRoot() {
		return fmt.Errorf("restart as uid %d, gid %d: only root can: %w", im.UID, im.GID, inject.ErrUnsupported)
	}
	return nil
}
