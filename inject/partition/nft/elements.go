package nft

import (
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Range is a closed range of addresses of one family.
type Range struct{ First, Last netip.Addr }

// chunk is how many elements one message carries. The list's length has 16 bits,
// and from about 2 340 IPv4 elements on the kernel loses some without an error.
const chunk = 500

// AddAddresses adds single addresses that end after the timeout.
func (b *Batch) AddAddresses(f Family, table, set string, list []netip.Addr, timeout time.Duration) {
	ms := millis(timeout)
	addChunks(b, f, table, set, list, func(a []byte, x netip.Addr) []byte {
		return element(a, x.AsSlice(), ms, false)
	})
}

// AddRanges adds ranges, which must not touch. Each is two elements, its first
// address and the one after its last; the latter has no timeout of its own.
func (b *Batch) AddRanges(f Family, table, set string, list []Range, timeout time.Duration) {
	ms := millis(timeout)
	addChunks(b, f, table, set, list, func(a []byte, r Range) []byte {
		a = element(a, r.First.AsSlice(), ms, false)
		if after := r.Last.Next(); after.IsValid() { // else to the end of the address space
			a = element(a, after.AsSlice(), 0, true)
		}
		return a
	})
}

// AddPorts adds ports, for ever.
func (b *Batch) AddPorts(f Family, table, set string, list []uint16) {
	addChunks(b, f, table, set, list, func(a []byte, p uint16) []byte {
		return element(a, binary.BigEndian.AppendUint16(nil, p), 0, false)
	})
}

// AddKey adds one key that ends after the timeout.
func (b *Batch) AddKey(f Family, table, set string, key []byte, timeout time.Duration) {
	addChunks(b, f, table, set, [][]byte{key}, func(a, k []byte) []byte { return element(a, k, millis(timeout), false) })
}

// FlushSet removes the elements of a set, if there are any.
func (b *Batch) FlushSet(f Family, table, set string) {
	a := putString(nil, unix.NFTA_SET_ELEM_LIST_TABLE, table)
	b.add(unix.NFT_MSG_DELSETELEM, 0, f, putString(a, unix.NFTA_SET_ELEM_LIST_SET, set), "flush set "+set)
}

func addChunks[T any](b *Batch, f Family, table, set string, list []T, one func([]byte, T) []byte) {
	for len(list) > 0 {
		n := min(chunk, len(list))
		a := make([]byte, 0, 64+80*n)
		a = putString(a, unix.NFTA_SET_ELEM_LIST_TABLE, table)
		a = putString(a, unix.NFTA_SET_ELEM_LIST_SET, set)
		a, at := open(a, unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		for _, x := range list[:n] {
			a = one(a, x)
		}
		b.add(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, f, shut(a, at), "add elements to "+set)
		list = list[n:]
	}
}

func element(a, key []byte, timeout uint64, end bool) []byte {
	a, elem := open(a, unix.NFTA_LIST_ELEM)
	a, k := open(a, unix.NFTA_SET_ELEM_KEY)
	a = put(a, unix.NFTA_DATA_VALUE, key...)
	a = shut(a, k)
	if end {
		a = put32(a, unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
	}
	if timeout > 0 {
		var be [8]byte
		binary.BigEndian.PutUint64(be[:], timeout)
		a = put(a, unix.NFTA_SET_ELEM_TIMEOUT, be[:]...)
	}
	return shut(a, elem)
}

// millis rounds up: an element must not end before its time.
func millis(d time.Duration) uint64 {
	return uint64((d + time.Millisecond - 1) / time.Millisecond)
}
