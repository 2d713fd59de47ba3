package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// MaxAge is how long a lab lives unless it is told otherwise: a forgotten one
// ends by itself.
const MaxAge = 8 * time.Hour

// Times of a keeper's start.
const (
	// startTimeout bounds the start of all servers, on a busy machine.
	startTimeout = 60 * time.Second
	pollInterval = 50 * time.Millisecond
)

// notice is what a starting keeper tells the up that waits for it.
type notice struct {
	Step  string `json:"step,omitempty"`
	Ready bool   `json:"ready,omitempty"`
	Err   string `json:"err,omitempty"`
}

// Keeper says what a keeper keeps.
type Keeper struct {
	Base, Name string
	// Program is the path of the lock server, for labs whose one is not built in.
	Program string
	MaxAge  time.Duration
	// Up is the connection to the up that waits for the lab.
	Up *os.File
	// Log is where the keeper notes what happens later.
	Log *os.File
}

// keeper is a lab that is up, seen from its pid 1.
type keeper struct {
	lab     Lab
	place   place
	locklab string // path of this program
	reaper  *reaper
	net     network
	prober  *prober
	log     *os.File
	servers []server

	mu       sync.Mutex
	children map[string]*child // servers, by name
}

// Run builds the lab, says so to up, and runs programs on its nodes until ctx
// ends or the lab is too old. The process must be pid 1 of its PID namespace and
// end after Run: everything that Run started ends with it.
func (o Keeper) Run(ctx context.Context) error {
	if os.Getpid() != 1 {
		return errors.New("keep lab: not pid 1 of a PID namespace")
	}
	unix.Umask(0o022) // lock clients run as another user and must reach their files
	ctx, cancel := context.WithTimeout(ctx, o.MaxAge)
	defer cancel()
	ready := make(chan struct{})
	go func() {
		// up never writes, so this ends when up does. Until the lab is ready
		// nobody else would know of it, so then it ends too.
		_, _ = o.Up.Read(make([]byte, 1))
		select {
		case <-ready:
		default:
			cancel()
		}
	}()
	tell := json.NewEncoder(o.Up)
	k, listener, err := o.build(ctx, func(step string) { _ = tell.Encode(notice{Step: step}) })
	if err != nil {
		return errors.Join(err, tell.Encode(notice{Err: err.Error()}))
	}
	close(ready)
	if err := tell.Encode(notice{Ready: true}); err != nil {
		return fmt.Errorf("keep lab: nobody waits for it: %w", err)
	}
	_ = o.Up.Close()
	go k.serve(ctx, listener)
	<-ctx.Done()
	k.note("the lab ends: %v", context.Cause(ctx))
	return k.place.remove()
}

// build makes the lab step by step. The order matters where it says so.
func (o Keeper) build(ctx context.Context, step func(string)) (*keeper, *net.UnixListener, error) {
	l, err := Find(o.Name)
	if err != nil {
		return nil, nil, err
	}
	k := &keeper{lab: l, place: placeOf(o.Base, l), log: o.Log, children: map[string]*child{}}
	if k.locklab, err = os.Executable(); err != nil {
		return nil, nil, fmt.Errorf("find own program: %w", err)
	}
	// Before the mounts: /proc still knows the pid under which others see us.
	id, err := self()
	if err != nil {
		return nil, nil, err
	}
	if err := k.place.writeKeeper(id); err != nil {
		return nil, nil, err
	}
	listener, err := k.place.listen()
	if err != nil {
		return nil, nil, err
	}
	if err := mounts(); err != nil {
		return nil, nil, err
	}
	if err := k.makeDirs(); err != nil {
		return nil, nil, err
	}
	step(fmt.Sprintf("network of %d nodes", len(l.Nodes())))
	if k.net, err = buildNetwork(l.Nodes()); err != nil {
		return nil, nil, err
	}
	if id.Namespaces, err = k.namespaces(); err != nil {
		return nil, nil, err
	}
	if err := k.place.writeKeeper(id); err != nil {
		return nil, nil, err
	}
	if l.TLS {
		if err := writeCerts(tlsDir, l.withRole(RoleLock)); err != nil {
			return nil, nil, err
		}
	}
	if k.prober, err = newProber(l, k.net[l.withRole(RoleClient)[0].Name]); err != nil {
		return nil, nil, err
	}
	// The collecting of children lasts as long as the process.
	k.reaper, _ = newReaper()
	if err := k.startServers(ctx, o.Program, step); err != nil {
		return nil, nil, err
	}
	return k, listener, k.place.writePlan(l, k.locklab, o.Program)
}

// mounts gives the lab its own /proc and its own memory for data.
func mounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Mount("locklab", inside, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777,size=2g"); err != nil {
		return fmt.Errorf("mount %s: %w", inside, err)
	}
	return nil
}

// makeDirs makes the servers' data directories and the agents' journal
// directories, one per node, private to the lab's owner.
func (k *keeper) makeDirs() error {
	if err := os.MkdirAll(k.place.logs(), 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	for _, n := range k.lab.Nodes() {
		for _, dir := range []string{dataDir, stateDir} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("make directory: %w", err)
			}
			if err := os.Mkdir(filepath.Join(dir, n.Name), 0o700); err != nil {
				return fmt.Errorf("make directory: %w", err)
			}
		}
	}
	return nil
}

// namespaces lists the lab's own namespaces, by which whatever should be left of
// it can be found.
func (k *keeper) namespaces() ([]string, error) {
	var list []string
	for _, path := range []string{"/proc/self/ns/pid", "/proc/self/ns/net"} {
		link, err := os.Readlink(path)
		if err != nil {
			return nil, fmt.Errorf("read namespace: %w", err)
		}
		list = append(list, link)
	}
	for _, ns := range k.net {
		link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", ns.Fd()))
		if err != nil {
			return nil, fmt.Errorf("read namespace: %w", err)
		}
		list = append(list, link)
	}
	return list, nil
}

// note writes a line to the keeper's log.
func (k *keeper) note(format string, args ...any) {
	fmt.Fprintf(k.log, time.Now().UTC().Format(time.RFC3339)+" "+format+"\n", args...)
}

// command is argv with its output in the log of that name.
func (k *keeper) command(name string, argv []string) (*exec.Cmd, *os.File, error) {
	out, err := os.OpenFile(filepath.Join(k.place.logs(), name+".log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open log: %w", err)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", out, out
	return cmd, out, nil
}
