package clock

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"

	"github.com/lockaudit/lockaudit/inject"
)

// pageSize of every amd64 machine; the only one on which this works.
const pageSize = 4096

// functions of the vDSO that read the wall clock, each under its two names.
var functions = [3][2]string{
	{"__vdso_clock_gettime", "clock_gettime"},
	{"__vdso_gettimeofday", "gettimeofday"},
	{"__vdso_time", "time"},
}

// image is this machine's vDSO and what a patched copy of it looks like. All 64-bit
// processes have the same one, at different addresses.
type image struct {
	// clean is as the kernel made it, whole pages.
	clean []byte
	// offsets of all functions by name, and of the three that are patched.
	offsets map[string]int
	entries [3]int
	// area is the offset at which the stub goes.
	area int
	// stub is the area's contents with its trampolines, without plan and records.
	stub []byte
}

// ownImage takes this process's own vDSO as the model: it is the kernel's, since
// nobody skews the agent.
var ownImage = sync.OnceValues(func() (*image, error) {
	if err := supportedOn(runtime.GOARCH); err != nil {
		return nil, err
	}
	f, err := os.Open("/proc/self/mem")
	if err != nil {
		return nil, fmt.Errorf("read own vDSO: %w", err)
	}
	defer f.Close()
	mem := memory{pid: os.Getpid(), f: f}
	if err := mem.findVDSO(); err != nil {
		return nil, err
	}
	size, err := mappedSize(mem.base)
	if err != nil {
		return nil, err
	}
	clean, err := mem.read(0, size)
	if err != nil {
		return nil, err
	}
	return newImage(clean)
})

// supportedOn: the stub is amd64's code, and so is what the decoder knows.
func supportedOn(arch string) error {
	if arch == "amd64" {
		return nil
	}
	return fmt.Errorf("skewing a process's clock works on amd64 only, this is %s: %w", arch, inject.ErrUnsupported)
}

// mappedSize is the size of this process's own vDSO.
func mappedSize(base int64) (int, error) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return 0, fmt.Errorf("read own memory map: %w", err)
	}
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err == nil && from == base && to-from <= 1<<20 {
			return int(to - from), nil
		}
	}
	return 0, fmt.Errorf("read own memory map: no vDSO at %#x: %w", base, inject.ErrUnsupported)
}

// newImage plans the patch of a vDSO. What cannot be moved without a doubt is
// refused: better no fault than a target that jumps into the middle of something.
func newImage(clean []byte) (*image, error) {
	unsupported := func(why string, args ...any) (*image, error) {
		return nil, fmt.Errorf("this kernel's vDSO cannot be patched: "+why+": %w", append(args, inject.ErrUnsupported)...)
	}
	f, err := elf.NewFile(bytes.NewReader(clean))
	if err != nil {
		return unsupported("%v", err)
	}
	if f.Class != elf.ELFCLASS64 || f.Machine != elf.EM_X86_64 {
		return unsupported("it is %v for %v", f.Class, f.Machine)
	}
	bodies, offsets, err := symbols(f, clean)
	if err != nil {
		return unsupported("%v", err)
	}
	im := &image{clean: clean, offsets: offsets}
	for i, names := range functions {
		at, ok := offsets[names[0]]
		if other, both := offsets[names[1]]; !ok || both && other != at {
			return unsupported("%s and %s are missing or are two functions", names[0], names[1])
		}
		im.entries[i] = at
	}
	if im.area, err = tail(f, clean); err != nil {
		return unsupported("%v", err)
	}
	if im.stub, err = im.link(bodies); err != nil {
		return unsupported("%v", err)
	}
	return im, nil
}

// symbols lists the code of all functions and the offset of each name.
func symbols(f *elf.File, clean []byte) (bodies []body, offsets map[string]int, err error) {
	list, err := f.DynamicSymbols()
	if err != nil {
		return nil, nil, fmt.Errorf("read symbols: %w", err)
	}
	// The vDSO is linked at address 0, so that addresses are offsets.
	if len(f.Progs) == 0 || f.Progs[0].Type != elf.PT_LOAD || f.Progs[0].Vaddr != 0 || f.Progs[0].Off != 0 {
		return nil, nil, errors.New("its first segment does not begin at 0")
	}
	offsets = map[string]int{}
	for _, s := range list {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC || s.Value == 0 {
			continue
		}
		if s.Value+s.Size > uint64(len(clean)) || s.Size == 0 {
			return nil, nil, fmt.Errorf("function %s lies outside", s.Name)
		}
		offsets[s.Name] = int(s.Value)
		bodies = append(bodies, body{at: int(s.Value), code: clean[s.Value : s.Value+s.Size]})
	}
	return bodies, offsets, nil
}

// tail finds room for the stub: zeros at the end of the last page, behind
// everything that the file has. In one page, so that no write of it is ever half done.
func tail(f *elf.File, clean []byte) (int, error) {
	used := f.Progs[0].Memsz
	for _, s := range f.Sections {
		if s.Type != elf.SHT_NOBITS && s.Type != elf.SHT_NULL {
			used = max(used, s.Offset+s.FileSize)
		}
	}
	// The table of sections, which ends the file.
	shoff, shnum := le.Uint64(clean[40:]), uint64(le.Uint16(clean[60:]))
	used = max(used, shoff+shnum*uint64(le.Uint16(clean[58:])))
	used = max((used+15)&^15, uint64(len(clean)-pageSize))
	if used+uint64(len(stubCode)) > uint64(len(clean)) {
		return 0, fmt.Errorf("it has %d bytes of slack, %d are needed", max(0, len(clean)-int(used)), len(stubCode))
	}
	if len(bytes.Trim(clean[used:], "\x00")) > 0 {
		return 0, errors.New("its slack is not empty")
	}
	return int(used), nil
}
