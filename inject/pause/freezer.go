package pause

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/target"

	"golang.org/x/sys/unix"
)

// frozen is the cgroup of a unit or container that is frozen for one plan.
type frozen struct {
	id    string
	undo  undo
	group group // once stop has found it
	last  time.Duration
}

// prepareFreezer finds the whole unit or container of the target, and refuses it
// if anything in it must not be stopped.
func prepareFreezer(ctx context.Context, p Params, u *undo, plan *inject.Plan) error {
	s := p.Target
	if s.IsZero() {
		s = target.Selector{PID: p.PID, StartTime: p.StartTime}
	}
	t, err := target.Resolve(ctx, s)
	if err != nil {
		return err
	}
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), inject.ErrRefused)
	}
	if t.Group == "" {
		return refuse("process %d (%s) is in no unit or container of its own, but in the cgroup %q", t.PID, t.Comm, t.Cgroup)
	}
	if strings.HasSuffix(t.Group, ".slice") || t.Group == "/" {
		return refuse("the cgroup %s is not one unit's or container's", t.Group)
	}
	g, err := openGroup(t.Group)
	if err != nil {
		return err
	}
	if err := g.refuseFrozen(); err != nil {
		return err
	}
	if err := unix.Access(g.file("cgroup.freeze"), unix.W_OK); err != nil {
		return fmt.Errorf("freeze cgroup %s: %w; kernel 5.2 or later and root are needed: %w", g.Path, err, inject.ErrUnsupported)
	}
	// One that is stopped already could not be told from one that this fault has stopped.
	// Others in the cgroup may be: the freezer leaves them as they are.
	root, err := visit(ctx, []int{t.PID}, false)
	if err != nil {
		return err
	}
	if len(root) == 0 || root[0].Process != t.Process {
		return fmt.Errorf("process %d: %w", t.PID, inject.ErrGone)
	}
	protected, err := inject.NewProtected()
	if err != nil {
		return err
	}
	if err := stoppable(root[0], protected); err != nil {
		return err
	}
	inside, err := g.mayFreeze(nil)
	if err != nil {
		return err
	}
	first, err := visit(ctx, inside[:min(len(inside), mostWords)], false)
	if err != nil {
		return err
	}
	u.Tree, u.Group, u.Target, u.Inside = false, g.Path, t.Process, inside
	what := "unit " + t.Unit
	if t.Container != "" {
		what = "container " + t.Container
	}
	plan.Objects = append([]string{fmt.Sprintf("cgroup %s (%s): frozen by cgroup.freeze, and with it", g.Path, what)},
		words(first, inside[min(len(inside), mostWords):], "")...)
	return nil
}

// mayFreeze refuses a cgroup that holds anything that must not be stopped, and returns
// what is in it, in order. Those that a look before has found are not looked at again.
//
// Only names are read: one of a thousand members costs a third of its stat that way, and
// kernel threads, which that would tell, are not frozen by the kernel (cgroup_freeze_task).
func (g group) mayFreeze(before pidList) (pidList, error) {
	protected, err := inject.NewProtected()
	if err != nil {
		return nil, err
	}
	pids, err := g.processes()
	if err != nil {
		return nil, err
	}
	slices.Sort(pids)
	err = inject.Each(len(pids), func(i int) error {
		if _, known := slices.BinarySearch(before, pids[i]); known {
			return nil
		}
		comm, err := inject.Comm(pids[i])
		if notThere(err) {
			return nil
		}
		if err == nil {
			err = protected.Refuse(pids[i], inject.Stat{Comm: comm})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cgroup %s: %w", g.Path, err)
	}
	return pids, nil
}

// stop marks the cgroup as this plan's and freezes it.
func (f *frozen) stop(ctx context.Context) error {
	g, err := openGroup(f.undo.Group)
	if err != nil {
		return err
	}
	if err := f.targetLives(); err != nil {
		return err
	}
	if err := g.refuseFrozen(); err != nil {
		return err
	}
	if err := g.claim(f.id); err != nil {
		return err
	}
	if err := g.refuseFrozenBy(f.id); err != nil {
		return errors.Join(err, g.unmark()) // or Revert would thaw what is another's
	}
	// What came in since Prepare is looked at, too.
	if _, err := g.mayFreeze(f.undo.Inside); err != nil {
		return err
	}
	if err := g.write("cgroup.freeze", "1"); err != nil {
		return err
	}
	f.group = g
	f.last = inject.Now()
	return wait(ctx, func() (bool, error) { return g.is("frozen") }, "cgroup %s does not freeze", g.Path)
}

// targetLives: a unit that was restarted may have the same cgroup and another process.
func (f *frozen) targetLives() error {
	p := f.undo.Target
	s, err := inject.ReadStat(p.PID)
	if err == nil && (s.StartTime != p.StartTime || s.Dead()) {
		err = fmt.Errorf("process %d: %w", p.PID, inject.ErrGone)
	}
	return err
}

func (f *frozen) seen() (inject.Effect, error) {
	g := f.group
	cold, err := g.is("frozen")
	if err != nil {
		return inject.Effect{}, err
	}
	pids, err := g.processes()
	if err != nil {
		return inject.Effect{}, err
	}
	if !cold || len(pids) == 0 {
		return inject.Effect{}, fmt.Errorf("cgroup %s is not frozen, or empty: %w", g.Path, inject.ErrGone)
	}
	return inject.Effect{Seen: fmt.Sprintf("%d processes frozen in cgroup %s", len(pids), g.Path), Count: len(pids), Since: f.last}, nil
}

func (f *frozen) resume(ctx context.Context) (inject.Effect, error) {
	return thaw(ctx, f.id, f.undo.Group)
}

func (*frozen) release() {}

// thaw lets the cgroup of a plan run, if it bears the plan's mark: one that others
// have frozen stays frozen. The mark is removed last, so that what is interrupted
// here can be done again.
func thaw(ctx context.Context, id, path string) (inject.Effect, error) {
	ctx, cancel := context.WithTimeout(ctx, resumeWait)
	defer cancel()
	g, err := openGroup(path)
	if errors.Is(err, inject.ErrGone) {
		return inject.Effect{Seen: fmt.Sprintf("cgroup %s is gone, and with it all that was frozen", path)}, nil
	}
	if err != nil {
		return inject.Effect{}, err
	}
	mark, err := g.mark()
	if err != nil {
		return inject.Effect{}, err
	}
	if mark == id {
		if err := g.write("cgroup.freeze", "0"); err != nil {
			return inject.Effect{}, err
		}
		err := wait(ctx, g.thawed, "cgroup %s is still frozen", g.Path)
		if err != nil {
			return inject.Effect{}, err
		}
		if err := g.unmark(); err != nil {
			return inject.Effect{}, err
		}
	}
	pids, err := g.processes()
	if err != nil && !errors.Is(err, inject.ErrGone) {
		return inject.Effect{}, err
	}
	e := inject.Effect{Seen: fmt.Sprintf("%d processes run in cgroup %s", len(pids), g.Path), Count: len(pids)}
	if others, err := g.is("frozen"); err == nil && others {
		e.Seen = fmt.Sprintf("cgroup %s is frozen by others, and not by this fault", g.Path)
	}
	return e, nil
}
