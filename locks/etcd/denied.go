package etcd

import (
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/lockaudit/lockaudit/locks"
)

// needs names the role's permission that a refusal is about, as etcdctl grants it: to
// read a key, or all that begins with it. "\x00" stands for every key.
func needs(err error, key string, below bool) error {
	if !errors.Is(err, rpctypes.ErrPermissionDenied) {
		return err
	}
	what := "read on " + key
	switch {
	case key == "\x00":
		what = `read on every key (etcdctl role grant-permission ROLE --prefix=true read '')`
	case below:
		what = fmt.Sprintf("read on all below %s (etcdctl role grant-permission ROLE --prefix=true read %s)", key, key)
	}
	return &locks.Denied{Needs: what, Err: err}
}
