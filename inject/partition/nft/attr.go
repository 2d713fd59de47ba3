package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Attr is one netlink attribute, encoded.
type attr []byte

const attrHeader = 4

// put appends an attribute. Its length field has 16 bits: whoever puts lists in
// one must keep them short, because the kernel silently loses what wraps.
func put(b []byte, kind uint16, data ...byte) []byte {
	n := attrHeader + len(data)
	b = binary.NativeEndian.AppendUint16(b, uint16(n))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, data...)
	for ; n%4 != 0; n++ {
		b = append(b, 0)
	}
	return b
}

func put32(b []byte, kind uint16, v uint32) []byte {
	return put(b, kind, binary.BigEndian.AppendUint32(nil, v)...)
}

func putString(b []byte, kind uint16, s string) []byte { return put(b, kind, append([]byte(s), 0)...) }

// open starts a nested attribute and returns where; shut ends it.
func open(b []byte, kind uint16) ([]byte, int) {
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	binary.NativeEndian.PutUint16(b[at+2:], kind|unix.NLA_F_NESTED)
	return b, at
}

func shut(b []byte, at int) []byte {
	binary.NativeEndian.PutUint16(b[at:], uint16(len(b)-at))
	return b
}

func nest(b []byte, kind uint16, inner []byte) []byte {
	return put(b, kind|unix.NLA_F_NESTED, inner...)
}

// each calls f for every attribute of b. What is cut off is not an attribute.
func (b attr) each(f func(kind uint16, data attr)) {
	for len(b) >= attrHeader {
		n := int(binary.NativeEndian.Uint16(b))
		if n < attrHeader || n > len(b) {
			return
		}
		f(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[attrHeader:n])
		b = b[min((n+3)&^3, len(b)):]
	}
}

// find returns the first attribute of a kind, or nil.
func (b attr) find(kind uint16) attr {
	var out attr
	b.each(func(k uint16, data attr) {
		if k == kind && out == nil {
			out = data
		}
	})
	return out
}

func (b attr) uint32() uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func (b attr) uint64() uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func (b attr) string() string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
