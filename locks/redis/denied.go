package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/lockaudit/lockaudit/locks"
)

// denials names the permission that a NOPERM is about, as ACL SETUSER takes it. It
// is a hook, so that no command can be forgotten.
type denials struct{}

func (denials) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (denials) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if own := named(cmd, err); own != nil {
			err = own
		}
		if err != nil {
			cmd.SetErr(err)
		}
		return err
	}
}

func (denials) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			if own := named(cmd, cmd.Err()); own != nil {
				if errors.Is(err, cmd.Err()) {
					err = own
				}
				cmd.SetErr(own)
			}
		}
		return err
	}
}

var (
	// "this user has no permissions to run the 'config|get' command", since 6.0
	deniedCommand = regexp.MustCompile(`run the '([^']+)' command`)
	// "… to access one of the keys used as arguments", "… the 'k' key"
	deniedKey = regexp.MustCompile(`(?i)access .*key`)
)

// readers are the commands for which the permission to read a key is enough.
var readers = []string{"get", "getrange", "hscan", "pttl", "type", "exists"}

// redirected says plainly what MOVED and ASK mean for a client of one server; nil if it
// was neither.
func redirected(err error) error {
	for _, word := range []string{"MOVED", "ASK"} {
		if !redis.HasErrorPrefix(err, word+" ") {
			continue
		}
		var said redis.Error
		if fields := strings.Fields(err.Error()); errors.As(err, &said) && len(fields) == 3 {
			return fmt.Errorf("this is a Redis Cluster, in which %s serves the key, and this client follows no redirects: %w", fields[2], err)
		}
	}
	return nil
}

// named says in words which permission was missing, or that a cluster redirects; nil if
// it was neither.
func named(cmd redis.Cmder, err error) error {
	if err == nil {
		return nil
	}
	if elsewhere := redirected(err); elsewhere != nil {
		return elsewhere
	}
	// EXECABORT carries what EXEC itself was refused for.
	aborted := redis.HasErrorPrefix(err, "EXECABORT") && strings.Contains(err.Error(), "NOPERM")
	if !aborted && !redis.HasErrorPrefix(err, "NOPERM") {
		return nil
	}
	if m := deniedCommand.FindStringSubmatch(err.Error()); m != nil {
		return &locks.Denied{Needs: "+" + strings.ToLower(m[1]), Err: err}
	}
	if deniedKey.MatchString(err.Error()) {
		return &locks.Denied{Needs: keyPermission(cmd), Err: err}
	}
	return nil
}

// keyPermission of a command; the keys of a script come behind their number.
func keyPermission(cmd redis.Cmder) string {
	args, first := cmd.Args(), 1
	if strings.HasPrefix(cmd.Name(), "eval") {
		first = 3
	}
	if len(args) <= first {
		return "~*"
	}
	if slices.Contains(readers, cmd.Name()) {
		return fmt.Sprintf("%%R~%v", args[first])
	}
	return fmt.Sprintf("~%v", args[first])
}
