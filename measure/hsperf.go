package measure

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"
)

// The JVM keeps its counters in a mapped file, hsperfdata, which any reader may look at
// without the JVM's doing anything (src/hotspot/share/runtime/perfMemory.hpp): a prologue,
// and entries of a name and a value each. It is what jstat reads.
const (
	hsperfMagic = 0xcafec0c0
	hsperfMajor = 2
	// maxHsperf bounds the file: 32 KiB by default, and -XX:PerfDataMemorySize can raise it.
	maxHsperf = 8 << 20
)

// ErrNoHsperf: the process has no such file. It is no JVM, or one that was started with
// -XX:-UsePerfData or -XX:+PerfDisableSharedMem.
var ErrNoHsperf = errors.New("no hsperfdata")

// hsperf is an open file with the places of the counters that are wanted.
type hsperf struct {
	file  *os.File
	order binary.ByteOrder
	// counts and times are where the number of stops, and the ticks spent in them, stand.
	counts, times []int64
	frequency     uint64 // ticks a second
	what          string // which counters these are
	version       string // java.version
}

// openHsperf opens the file of a process as the process itself sees it: in its own mount
// namespace, under its number in its own PID namespace. It stands in a folder in which
// others can write, so that links are not followed and the owner must be the process's.
func openHsperf(pid, inner int, uid uint32) (*hsperf, error) {
	root, err := os.OpenRoot(fmt.Sprintf("/proc/%d/root", pid))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	found, err := fs.Glob(root.FS(), fmt.Sprintf("tmp/hsperfdata_*/%d", inner))
	if err != nil {
		return nil, err
	}
	for _, name := range found {
		f, err := root.OpenFile(path.Clean(name), os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
		if err != nil {
			continue // left by another process that had this number, or not readable
		}
		info, err := f.Stat()
		if err == nil && info.Mode().IsRegular() && info.Sys().(*syscall.Stat_t).Uid == uid && info.Size() <= maxHsperf {
			h, err := parseHsperf(f, info.Size())
			if err == nil {
				return h, nil
			}
			_ = f.Close()
			return nil, err
		}
		_ = f.Close()
	}
	return nil, ErrNoHsperf
}

// parseHsperf finds the counters. The file is somebody else's: every offset is checked.
func parseHsperf(f *os.File, size int64) (*hsperf, error) {
	data := make([]byte, size)
	if _, err := f.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	h := &hsperf{file: f, order: binary.LittleEndian}
	longs, texts, err := h.entries(data)
	if err != nil {
		return nil, fmt.Errorf("read hsperfdata: %w", err)
	}
	at, ok := longs["sun.os.hrt.frequency"]
	if !ok {
		return nil, fmt.Errorf("read hsperfdata: it has no clock: %w", errHsperf)
	}
	if h.frequency = h.order.Uint64(data[at:]); h.frequency == 0 {
		return nil, fmt.Errorf("read hsperfdata: its clock stands: %w", errHsperf)
	}
	h.version = texts["java.property.java.version"]
	h.choose(longs)
	if len(h.counts) == 0 {
		return nil, fmt.Errorf("read hsperfdata: it counts neither safepoints nor collections: %w", errHsperf)
	}
	return h, nil
}

// choose prefers safepoints, in which every thread stands, whatever for; their time does
// not have the time that the threads took to get there, which is counted by itself.
func (h *hsperf) choose(longs map[string]int64) {
	count, counted := longs["sun.rt.safepoints"]
	at, timed := longs["sun.rt.safepointTime"]
	if counted && timed {
		h.counts, h.times, h.what = []int64{count}, []int64{at}, "safepoints"
		if sync, ok := longs["sun.rt.safepointSyncTime"]; ok {
			h.times = append(h.times, sync)
		}
		return
	}
	for i := range 16 {
		count, counted := longs[fmt.Sprintf("sun.gc.collector.%d.invocations", i)]
		at, timed := longs[fmt.Sprintf("sun.gc.collector.%d.time", i)]
		if counted && timed {
			h.counts, h.times, h.what = append(h.counts, count), append(h.times, at), "collections"
		}
	}
}

var errHsperf = errors.New("not as this version knows it")

// entries are the offsets of the values by name, and the texts.
func (h *hsperf) entries(data []byte) (longs map[string]int64, texts map[string]string, err error) {
	const prologue, header = 32, 20
	if len(data) < prologue || binary.BigEndian.Uint32(data) != hsperfMagic || data[5] != hsperfMajor {
		return nil, nil, errHsperf
	}
	if data[4] == 0 {
		h.order = binary.BigEndian
	}
	if data[7] == 0 {
		return nil, nil, errors.New("the JVM is not ready yet")
	}
	longs, texts = map[string]int64{}, map[string]string{}
	at, n := int64(h.order.Uint32(data[24:])), h.order.Uint32(data[28:])
	size := int64(len(data))
	for range n {
		if at < prologue || at+header > size {
			return nil, nil, errHsperf
		}
		e := data[at:]
		length, name := int64(h.order.Uint32(e)), int64(h.order.Uint32(e[4:]))
		vector, value := int64(h.order.Uint32(e[8:])), int64(h.order.Uint32(e[16:]))
		if length < header || at+length > size || name >= length || value > length {
			return nil, nil, errHsperf
		}
		id, _, _ := bytes.Cut(e[name:length], []byte{0})
		switch {
		case e[12] == 'J' && vector == 0 && value+8 <= length:
			longs[string(id)] = at + value
		case e[12] == 'B' && vector > 0 && value+vector <= length:
			text, _, _ := bytes.Cut(e[value:value+vector], []byte{0})
			texts[string(id)] = string(text)
		}
		at += length
	}
	return longs, texts, nil
}

// read returns how often the process has stopped since its start, and for how long.
func (h *hsperf) read() (stops uint64, total time.Duration, err error) {
	var ticks uint64
	for _, c := range []struct {
		at  []int64
		sum *uint64
	}{{h.counts, &stops}, {h.times, &ticks}} {
		for _, at := range c.at {
			var b [8]byte
			if _, err := h.file.ReadAt(b[:], at); err != nil {
				return 0, 0, fmt.Errorf("read hsperfdata: %w", err)
			}
			*c.sum += h.order.Uint64(b[:])
		}
	}
	return stops, time.Duration(float64(ticks) / float64(h.frequency) * float64(time.Second)), nil
}
