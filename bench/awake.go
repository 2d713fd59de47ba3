package main

import (
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// awake keeps the cores from sleeping, as they do not on a node with work: a core that a
// hypervisor put to sleep takes up to 0.1 ms to come back, at every wake-up, which is the
// machine's figure and not the fault's. A thread per core of the idle class does it,
// which gives way at once to everybody. The end of it is waited for.
func awake() (end func()) {
	var stop atomic.Bool
	var all sync.WaitGroup
	before := runtime.GOMAXPROCS(2*runtime.NumCPU() + 1)
	for cpu := range runtime.NumCPU() {
		all.Go(func() {
			runtime.LockOSThread() // never unlocked, so that the thread ends
			var set unix.CPUSet
			set.Set(cpu)
			_ = unix.SchedSetaffinity(0, &set)
			if unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: schedIdle}, 0) != nil {
				return // it would take the core
			}
			for !stop.Load() {
			}
		})
	}
	return func() {
		stop.Store(true)
		all.Wait()
		runtime.GOMAXPROCS(before)
	}
}

const schedIdle = 5 // SCHED_IDLE of linux/sched.h
