package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// execGrace is how long a program has between SIGTERM and SIGKILL when whoever
// ran it is gone.
const execGrace = 10 * time.Second

// serve answers requests until the listener fails. It ends with the process.
func (k *keeper) serve(ctx context.Context, listener *net.UnixListener) {
	for {
		conn, err := listener.AcceptUnix()
		if err != nil {
			k.note("accept on control socket: %v", err)
			return
		}
		go func() {
			defer func() { _ = conn.Close() }()
			if err := k.answer(ctx, conn); err != nil {
				k.note("control: %v", err)
			}
		}()
	}
}

func (k *keeper) answer(ctx context.Context, conn *net.UnixConn) error {
	r, files, err := receive(conn)
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	if err != nil {
		return err
	}
	replies := json.NewEncoder(conn)
	switch r.Op {
	case opHealth:
		if err := k.health(ctx); err != nil {
			return replies.Encode(reply{Err: err.Error()})
		}
		return replies.Encode(reply{})
	case opExec:
		c, err := k.exec(r, files)
		if err != nil {
			return replies.Encode(reply{Err: err.Error()})
		}
		return k.attend(c, conn, replies)
	}
	return replies.Encode(reply{Err: "unknown request " + r.Op})
}

// exec starts the program of a request on its node.
func (k *keeper) exec(r request, files []*os.File) (*child, error) {
	ns, ok := k.net[r.Node]
	if !ok {
		return nil, fmt.Errorf("find node %q: %w", r.Node, ErrUnknown)
	}
	if len(files) != 3 || len(r.Argv) == 0 {
		return nil, errors.New("start program: bad request")
	}
	env, path := k.environment(r)
	program, err := lookPath(r.Argv[0], path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(r.Dir); err != nil {
		r.Dir = "/" // the lab sees other files in a few places
	}
	return k.reaper.start(ns, &exec.Cmd{
		Path: program, Args: r.Argv, Env: env, Dir: r.Dir,
		Stdin: files[0], Stdout: files[1], Stderr: files[2],
		SysProcAttr: sessionLeader(),
	})
}

// environment is the caller's, with this program's directory first on the PATH
// and the node's own place for an agent's journal.
func (k *keeper) environment(r request) (env []string, path string) {
	path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, v := range r.Env {
		name, value, _ := strings.Cut(v, "=")
		switch name {
		case "PATH":
			path = value
		case "LOCKAUDIT_STATE":
		default:
			env = append(env, v)
		}
	}
	path = filepath.Dir(k.locklab) + ":" + path
	return append(env, "PATH="+path, "LOCKAUDIT_STATE="+filepath.Join(stateDir, r.Node)), path
}

// lookPath finds a program as a shell with that PATH would; os/exec's own looks
// at the keeper's.
func lookPath(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		info, err := os.Stat(file)
		if err == nil && info.Mode().IsRegular() && unix.Access(file, unix.X_OK) == nil {
			return file, nil
		}
	}
	return "", fmt.Errorf("find program %q: %w", name, ErrMissing)
}

// attend reports the program's start and end to its caller, and ends it when the
// caller hangs up.
func (k *keeper) attend(c *child, conn *net.UnixConn, replies *json.Encoder) error {
	hangup := make(chan struct{})
	go func() {
		defer close(hangup)
		_, _ = io.Copy(io.Discard, conn)
	}()
	// If this fails the caller is gone, and the hangup says so.
	_ = replies.Encode(reply{Started: true})
	select {
	case <-c.done:
	case <-hangup:
		if err := k.stop(c); err != nil {
			return err
		}
	}
	status := c.status.ExitStatus()
	if c.status.Signaled() {
		status = 128 + int(c.status.Signal())
	}
	_ = replies.Encode(reply{Exited: true, Status: status})
	return nil
}

// stop ends a program: politely first.
func (k *keeper) stop(c *child) error {
	if err := k.reaper.signal(c, unix.SIGTERM); err != nil {
		return fmt.Errorf("stop program: %w", err)
	}
	grace := time.NewTimer(execGrace)
	defer grace.Stop()
	select {
	case <-c.done:
		return nil
	case <-grace.C:
	}
	if err := k.reaper.signal(c, unix.SIGKILL); err != nil {
		return fmt.Errorf("stop program: %w", err)
	}
	<-c.done
	return nil
}
