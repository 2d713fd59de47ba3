package inject

import (
	"runtime"
	"sync"
	"sync/atomic"
)

const (
	// eachBlock is how many calls a goroutine of Each takes at once: fewer than that
	// are not worth a second one.
	eachBlock = 16
	// eachMost bounds how many cores Each occupies on a node that has other work.
	eachMost = 4
)

// Each calls do for 0 to n-1, in blocks on several cores if there are many: a tree
// of a thousand processes takes as many looks into /proc before the first may be
// stopped. It returns the error of the lowest number; blocks beyond it may have been
// left out.
func Each(n int, do func(i int) error) error {
	workers := min(runtime.GOMAXPROCS(0), eachMost, (n+eachBlock-1)/eachBlock)
	if workers < 2 {
		return eachOf(0, n, do)
	}
	var (
		next   atomic.Int64
		failed atomic.Bool
		errs   = make([]error, (n+eachBlock-1)/eachBlock) // by block
		wg     sync.WaitGroup
	)
	for range workers {
		wg.Go(func() {
			for !failed.Load() {
				b := int(next.Add(1)) - 1
				if b >= len(errs) {
					return
				}
				if errs[b] = eachOf(b*eachBlock, min((b+1)*eachBlock, n), do); errs[b] != nil {
					failed.Store(true)
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func eachOf(from, to int, do func(i int) error) error {
	for i := from; i < to; i++ {
		if err := do(i); err != nil {
			return err
		}
	}
	return nil
}
