package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// UpOptions of a lab.
type UpOptions struct {
	// Base is the directory of all labs; see the function Base.
	Base   string
	MaxAge time.Duration
	// Progress is called with what is being done, a few words each time.
	Progress func(step string)
}

// Up raises a lab and returns the path of its plan. A lab that is up already and
// healthy is left as it is, and fresh is false.
func Up(ctx context.Context, l Lab, o UpOptions) (plan string, fresh bool, err error) {
	program, err := l.prepare()
	if err != nil {
		return "", false, err
	}
	p := placeOf(o.Base, l)
	unlock, err := p.lock(ctx)
	if err != nil {
		return "", false, fmt.Errorf("raise lab: %w", err)
	}
	defer unlock()
	if up, err := p.inspect(); err != nil {
		return "", false, Hint(fmt.Errorf("raise lab: %s is up and not healthy: %w", l.Name, err),
			"take it down first: locklab down "+l.Name)
	} else if up {
		return p.plan(), false, nil
	}
	// Whatever is there belongs to a keeper that died.
	if err := p.clear(); err != nil {
		return "", false, err
	}
	if err := raise(ctx, p, l, program, o); err != nil {
		return "", false, errors.Join(fmt.Errorf("raise lab: %w", err), p.remove())
	}
	return p.plan(), true, nil
}

// prepare checks what can be known before anything is made, and returns the path
// of the lock server if that is not built in.
func (l Lab) prepare() (program string, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find own program: %w", err)
	}
	if strings.HasPrefix(self, inside+"/") {
		return "", Hint(fmt.Errorf("raise lab: %s would be hidden: a lab has its own %s", self, inside), "move it somewhere else")
	}
	if l.App != "" {
		if err := l.findApp(self); err != nil {
			return "", err
		}
	}
	return l.Backend.Program()
}

// Program finds the server that the backend's labs run; "" if it is built in.
func (b Backend) Program() (path string, err error) {
	var name, deb string
	switch b {
	case Redis, Redlock:
		name, deb = "redis-server", "redis-server"
		path, err = exec.LookPath(name)
	case Postgres:
		name, deb = "postgres", "postgresql"
		path, err = findPostgres()
	case ZooKeeper:
		name, deb = "zookeeper", "libzookeeper-java default-jre-headless"
		path, err = findZooKeeper()
	default:
		return "", nil
	}
	if err != nil {
		return "", Hint(fmt.Errorf("find %s: %w", name, ErrMissing), "apt install "+deb)
	}
	return filepath.Abs(path)
}

// raise starts a keeper and waits until it says that the lab is ready. After an
// error the keeper and all that it started are gone.
func raise(ctx context.Context, p place, l Lab, program string, o UpOptions) (err error) {
	cmd, conn, err := spawn(p, l, program, o.MaxAge)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ended := make(chan struct{})
	go func() { // also collects a keeper that ends long after Up has returned
		defer close(ended)
		_ = cmd.Wait()
	}()
	defer func() {
		if err != nil {
			_ = cmd.Process.Kill() // fails only if it has ended already
			<-ended
		}
	}()
	interrupt := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer interrupt()
	for notices := json.NewDecoder(conn); ; {
		var n notice
		err := notices.Decode(&n)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("wait for keeper: it ended%s", p.lastWords())
		case n.Err != "":
			return errors.New(n.Err)
		case n.Ready:
			return nil
		}
		o.Progress(n.Step)
	}
}

// lastWords is the end of the keeper's log, for an error message.
func (p place) lastWords() string {
	data, _ := os.ReadFile(p.file("keeper.log"))
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return ": " + last
	}
	return ""
}

// dyingTime is how long a keeper that does not answer is watched before it counts
// as alive: one that was just killed closes its socket well before it is gone.
const dyingTime = time.Second

// inspect reports whether the lab is up, and what is wrong with it if it is.
func (p place) inspect() (up bool, err error) {
	pidfd, err := p.open()
	if err != nil {
		return false, nil
	}
	defer func() { _ = pidfd.Close() }()
	if err := p.health(); err != nil && !ended(pidfd, dyingTime) {
		return true, err
	} else if err != nil {
		return false, nil
	}
	return true, nil
}

// open returns a handle on the place's keeper, or an error if none runs.
func (p place) open() (pidfd *os.File, err error) {
	id, err := p.readKeeper()
	if err != nil {
		return nil, err
	}
	return openProcess(id)
}

// alive reports whether the place's keeper runs.
func (p place) alive() bool {
	pidfd, err := p.open()
	if err != nil {
		return false
	}
	_ = pidfd.Close()
	return true
}

// clear empties the directory and leaves it, because this process holds its lock.
func (p place) clear() error {
	entries, err := os.ReadDir(p.path)
	if err != nil {
		return fmt.Errorf("clear directory: %w", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(p.file(e.Name())); err != nil {
			return fmt.Errorf("clear directory: %w", err)
		}
	}
	return nil
}

// Plan returns the path of the plan of a lab that is up.
func Plan(base string, l Lab) (string, error) {
	p := placeOf(base, l)
	if !p.alive() {
		return "", notUp(l)
	}
	if _, err := os.Stat(p.plan()); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("find plan: %s is still starting", l.Name)
		}
		return "", fmt.Errorf("find plan: %w", err)
	}
	return p.plan(), nil
}

// IsUp reports whether the lab's keeper runs.
func IsUp(base string, l Lab) bool { return placeOf(base, l).alive() }
