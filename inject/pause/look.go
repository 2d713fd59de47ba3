package pause

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// look is what was read of a process at one moment.
type look struct {
	inject.Stat
	// gone: it has ended, or the number is another's. stopped is of its living threads.
	gone, stopped bool
}

// threads looks at all threads of a process: whether every living one is stopped,
// or with anyOne whether one is.
func threads(p inject.Process, anyOne bool) (look, error) {
	lead, err := inject.ReadStat(p.PID)
	return lookAt(p, lead, err, anyOne)
}

// lookAt goes on from what was read of the process as a whole.
func lookAt(p inject.Process, lead inject.Stat, err error, anyOne bool) (look, error) {
	if notThere(err) || err == nil && lead.StartTime != p.StartTime {
		return look{gone: true}, nil
	}
	if err != nil {
		return look{}, err
	}
	l := look{Stat: lead, stopped: lead.Stopped()}
	if lead.Threads == 1 && !lead.Dead() {
		return l, nil
	}
	dir := "/proc/" + strconv.Itoa(p.PID) + "/task"
	tasks, err := os.ReadDir(dir)
	if notThere(err) {
		return look{gone: true}, nil
	}
	if err != nil {
		return look{}, fmt.Errorf("read threads of %d: %w", p.PID, err)
	}
	living, still := 0, 0
	for _, task := range tasks {
		s, err := inject.ReadStatFile(dir + "/" + task.Name() + "/stat")
		if notThere(err) || err == nil && s.Dead() {
			continue
		}
		if err != nil {
			return look{}, err
		}
		living++
		if s.Stopped() {
			still++
		}
	}
	l.gone, l.stopped = living == 0, still > 0 && (anyOne || still == living)
	return l, nil
}

// wait polls with 20 µs at first, because a stop takes about that long, and 1 ms
// in the end. The words say what is the matter if it takes too long.
func wait(ctx context.Context, done func() (bool, error), words string, args ...any) error {
	for pause := 20 * time.Microsecond; ; pause = min(2*pause, time.Millisecond) {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s: %w", fmt.Sprintf(words, args...), err)
		}
		ts := unix.NsecToTimespec(int64(pause))
		_ = unix.Nanosleep(&ts, nil) // an early return is only a look too many
	}
}
