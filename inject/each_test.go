package inject

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// TestEach: each number is called once, however many there are, and of several errors
// the one of the lowest number is returned.
func TestEach(t *testing.T) {
	for _, n := range []int{0, 1, eachBlock, eachBlock + 1, 1000} {
		calls := make([]atomic.Int32, n)
		if err := Each(n, func(i int) error { calls[i].Add(1); return nil }); err != nil {
			t.Errorf("%d: %v", n, err)
		}
		for i := range calls {
			if c := calls[i].Load(); c != 1 {
				t.Errorf("%d of %d was called %d times", i, n, c)
			}
		}
	}
	for _, first := range []int{0, eachBlock - 1, eachBlock, 500} {
		want := fmt.Sprint("error of ", first)
		var later atomic.Bool
		err := Each(1000, func(i int) error {
			if i < first {
				return nil
			}
			if i > first {
				later.Store(true)
			}
			// The first error comes after another one, where there is a second core.
			for end := time.Now().Add(time.Second); i == first && !later.Load() && runtime.GOMAXPROCS(0) > 1 && time.Now().Before(end); {
				time.Sleep(10 * time.Microsecond)
			}
			return fmt.Errorf("error of %d", i)
		})
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
