package clock

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/arch/x86/x86asm"
)

// TestTrampoline moves the beginnings that compilers make from 0x100 to 0x900.
func TestTrampoline(t *testing.T) {
	for name, c := range map[string]struct{ code, want, err string }{
		"plain":               {"55 4889e5 4156 53", "55 4889e5 4156 e9fbf7ffff", ""},
		"endbr64":             {"f30f1efa 55 4889e5", "f30f1efa 55 e9fbf7ffff", ""},
		"address":             {"55 4c8d15e897ffff 90", "55 4c8d15e88fffff e9fbf7ffff", ""},
		"address, immediate":  {"813d3a95ffffffffff7f 90", "813d3a8dffffffffff7f e9fbf7ffff", ""},
		"branch, long":        {"83ff17 0f87d2000000 90", "83ff17 0f87d2f8ffff e9fbf7ffff", ""},
		"branch, short":       {"83ff17 7710 90", "83ff17 0f870cf8ffff e9f7f7ffff", ""},
		"ends at once":        {"31c0 c3 9090909090", "", "does not go on"},
		"jumps away":          {"90 e900000000", "", "does not go on"},
		"calls":               {"55 e800000000", "", "does not go on"},
		"loop":                {"90 e2fe 9090", "", "unknown kind"},
		"no instruction":      {"06 9090909090", "", ""},
		"no code":             {"55", "", ""},
		"system call at once": {"0f05 c3 9090", "", "does not go on"},
	} {
		vdso := append(make([]byte, 0x100), unhex(t, c.code)...)
		got, size, err := trampoline(vdso, 0x100, 0x900)
		if c.want == "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %x, %v, want an error", name, got, err)
			}
			continue
		}
		if err != nil || !bytes.Equal(got, unhex(t, c.want)) {
			t.Errorf("%s: %x, %v, want %s", name, got, err, c.want)
		}
		if size < jumpSize {
			t.Errorf("%s: only %d bytes are moved", name, size)
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestImageRefuses: a vDSO that cannot be patched without a doubt is refused.
func TestImageRefuses(t *testing.T) {
	own, err := ownImage()
	if err != nil {
		t.Fatal(err)
	}
	at := own.entries[0]
	for name, change := range map[string]func(b []byte) []byte{
		"no slack":            func(b []byte) []byte { return b[:own.area+len(own.stub)-1] },
		"slack in use":        func(b []byte) []byte { b[len(b)-1] = 1; return b },
		"an entry that jumps": func(b []byte) []byte { copy(b[at:], []byte{0xe9, 0, 0, 0, 0}); return b },
		"an entry that returns": func(b []byte) []byte {
			copy(b[at:], []byte{0x31, 0xc0, 0xc3})
			return b
		},
		"a branch back to the entry": func(b []byte) []byte {
			behind := at
			for behind < at+2*jumpSize { // the first instruction that is not moved
				inst, err := x86asm.Decode(b[behind:], 64)
				if err != nil {
					t.Fatal(err)
				}
				behind += inst.Len
			}
			copy(b[behind:], jumpTo(behind, at))
			return b
		},
		"32 bits":   func(b []byte) []byte { b[4] = 1; return b },
		"no ELF":    func(b []byte) []byte { b[0] = 0; return b },
		"no symbol": func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("__vdso_time"), []byte("__vdso_tame")) },
	} {
		if _, err := newImage(change(append([]byte(nil), own.clean...))); !errors.Is(err, inject.ErrUnsupported) {
			t.Errorf("%s: %v, want %v", name, err, inject.ErrUnsupported)
		}
	}
}

// FuzzImage: no vDSO makes it panic, and no patch of one touches anything beyond its
// own places.
func FuzzImage(f *testing.F) {
	own, err := ownImage()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(own.clean)
	f.Fuzz(func(t *testing.T, b []byte) {
		im, err := newImage(b)
		if err != nil {
			return
		}
		if im.area+len(im.stub) > len(b) || len(im.stub) != len(stubCode) {
			t.Fatalf("the stub at %#x does not fit into %#x", im.area, len(b))
		}
		for i := range im.entries {
			if im.entries[i]+jumpSize > im.area {
				t.Fatalf("entry %d at %#x", i, im.entries[i])
			}
			if _, err := x86asm.Decode(im.jump(i), 64); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestArchitectures(t *testing.T) {
	if err := supportedOn("amd64"); err != nil {
		t.Error(err)
	}
	if err := supportedOn("arm64"); !errors.Is(err, inject.ErrUnsupported) || !strings.Contains(err.Error(), "this is arm64") {
		t.Errorf("arm64: %v", err)
	}
}
