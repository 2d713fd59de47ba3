package clock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"golang.org/x/arch/x86/x86asm"
)

var le = binary.LittleEndian

// jumpSize is the size of jmp rel32, by which an entry is overwritten.
const jumpSize = 5

// slot is the room for a trampoline in the stub.
const slot = 32

// body is a function of the vDSO.
type body struct {
	at   int
	code []byte
}

// link returns the stub with its trampolines, for this vDSO and this place in it.
func (im *image) link(bodies []body) ([]byte, error) {
	stub := append([]byte(nil), stubCode...)
	for i, at := range im.entries {
		if at/pageSize != (at+jumpSize-1)/pageSize {
			return nil, fmt.Errorf("the beginning of %s lies on two pages", functions[i][0])
		}
		size := jumpSize
		if where := [3]int{stubOriginalClockGettime, stubOriginalGettimeofday, 0}[i]; where != 0 {
			code, n, err := trampoline(im.clean, at, im.area+where)
			if err != nil {
				return nil, fmt.Errorf("move the beginning of %s: %w", functions[i][0], err)
			}
			copy(stub[where:where+slot], code)
			size = n
		}
		// Nobody may jump to what is moved, nor to the entry itself: the skew would be
		// added twice.
		for _, b := range bodies {
			if err := b.staysOut(at, at+size); err != nil {
				return nil, fmt.Errorf("%s: %w", functions[i][0], err)
			}
		}
		entry := stub[stubEntries+16*i:]
		le.PutUint32(entry, uint32(at))
		copy(entry[4:4+jumpSize], im.clean[at:])
	}
	return stub, nil
}

// jump is the patched beginning of entry i.
func (im *image) jump(i int) []byte {
	to := im.area + [3]int{stubSkewedClockGettime, stubSkewedGettimeofday, stubSkewedTime}[i]
	return jumpTo(im.entries[i], to)
}

func jumpTo(from, to int) []byte {
	return le.AppendUint32([]byte{0xe9}, uint32(int32(to-(from+jumpSize))))
}

var endbr64 = [4]byte{0xf3, 0x0f, 0x1e, 0xfa}

// trampoline moves whole instructions of at least jumpSize bytes from the offset at
// to the offset to, with a jump behind them to what follows. size is how many bytes
// were moved.
func trampoline(vdso []byte, at, to int) (code []byte, size int, err error) {
	for size < jumpSize {
		src := vdso[at+size:]
		if len(src) >= 4 && [4]byte(src) == endbr64 {
			code, size = append(code, src[:4]...), size+4
			continue
		}
		inst, err := x86asm.Decode(src, 64)
		if err != nil {
			return nil, 0, fmt.Errorf("at %#x: %w", at+size, err)
		}
		moved, err := move(inst, src[:inst.Len], at+size, to+len(code))
		if err != nil {
			return nil, 0, fmt.Errorf("at %#x: %v: %w", at+size, inst, err)
		}
		code, size = append(code, moved...), size+inst.Len
	}
	code = append(code, jumpTo(to+len(code), at+size)...)
	if len(code) > slot {
		return nil, 0, fmt.Errorf("%d bytes do not fit into %d", len(code), slot)
	}
	return code, size, nil
}

// move rewrites one instruction so that it does the same at another place.
func move(inst x86asm.Inst, src []byte, from, to int) ([]byte, error) {
	switch {
	case inst.Op == x86asm.RET || inst.Op == x86asm.JMP || inst.Op == x86asm.CALL || inst.Op == x86asm.SYSCALL || inst.Op == x86asm.INT:
		return nil, errors.New("control does not go on behind it")
	case inst.PCRel == 0:
		return src, nil
	}
	if rel, ok := inst.Args[0].(x86asm.Rel); ok {
		// A conditional branch; the short form would not reach.
		if !conditional(inst.Op) {
			return nil, errors.New("a branch of an unknown kind")
		}
		condition := src[inst.PCRelOff-1] & 0x0f // 0x70+cc or 0x0f 0x80+cc
		out := []byte{0x0f, 0x80 | condition}
		return relative(out, from+inst.Len+int(rel), to)
	}
	if inst.PCRel != 4 || inst.PCRelOff+4 > len(src) {
		return nil, errors.New("an unknown kind of relative address")
	}
	out := append([]byte(nil), src...)
	old := int(int32(le.Uint32(src[inst.PCRelOff:])))
	moved := old + from - to
	if moved < math.MinInt32 || moved > math.MaxInt32 {
		return nil, errors.New("its relative address does not reach")
	}
	le.PutUint32(out[inst.PCRelOff:], uint32(int32(moved)))
	return out, nil
}

func relative(opcode []byte, target, to int) ([]byte, error) {
	rel := target - (to + len(opcode) + 4)
	if rel < math.MinInt32 || rel > math.MaxInt32 {
		return nil, errors.New("its target does not reach")
	}
	return le.AppendUint32(opcode, uint32(int32(rel))), nil
}

func conditional(op x86asm.Op) bool {
	switch op {
	case x86asm.JA, x86asm.JAE, x86asm.JB, x86asm.JBE, x86asm.JE, x86asm.JG, x86asm.JGE, x86asm.JL, x86asm.JLE,
		x86asm.JNE, x86asm.JNO, x86asm.JNP, x86asm.JNS, x86asm.JO, x86asm.JP, x86asm.JS:
		return true
	}
	return false
}

// staysOut checks that no branch of the function leads into [from, to). What the
// decoder does not know is no branch: it is passed over by one byte, and whatever
// looks like a branch on the way is only one more reason to refuse.
func (b body) staysOut(from, to int) error {
	for i := 0; i < len(b.code); {
		inst, err := x86asm.Decode(b.code[i:], 64)
		if err != nil || inst.Len == 0 {
			i++
			continue
		}
		i += inst.Len
		if rel, ok := inst.Args[0].(x86asm.Rel); ok {
			if t := b.at + i + int(rel); t >= from && t < to {
				return fmt.Errorf("the instruction before %#x jumps to %#x, which is moved", b.at+i, t)
			}
		}
	}
	return nil
}
