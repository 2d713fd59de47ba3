package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Expr is one expression of a rule, encoded. All of them use one register.
type Expr []byte

const register = unix.NFT_REG_1

func expression(name string, data []byte) Expr {
	return nest(putString(nil, unix.NFTA_EXPR_NAME, name), unix.NFTA_EXPR_DATA, data)
}

// Meta loads something about the packet, by its NFT_META key.
func Meta(key uint32) Expr {
	return expression("meta", put32(put32(nil, unix.NFTA_META_KEY, key), unix.NFTA_META_DREG, register))
}

// Payload loads bytes from a header.
func Payload(base, offset, length uint32) Expr {
	a := put32(nil, unix.NFTA_PAYLOAD_DREG, register)
	a = put32(a, unix.NFTA_PAYLOAD_BASE, base)
	a = put32(a, unix.NFTA_PAYLOAD_OFFSET, offset)
	return expression("payload", put32(a, unix.NFTA_PAYLOAD_LEN, length))
}

// Cmp goes on if the register compares so with the value.
func Cmp(op uint32, value []byte) Expr {
	a := put32(nil, unix.NFTA_CMP_SREG, register)
	a = put32(a, unix.NFTA_CMP_OP, op)
	return expression("cmp", nest(a, unix.NFTA_CMP_DATA, put(nil, unix.NFTA_DATA_VALUE, value...)))
}

// Is goes on if the register equals the value.
func Is(value ...byte) Expr { return Cmp(unix.NFT_CMP_EQ, value) }

// In goes on if the register is in the set.
func In(set string) Expr {
	return expression("lookup", put32(putString(nil, unix.NFTA_LOOKUP_SET, set), unix.NFTA_LOOKUP_SREG, register))
}

// Counter counts what comes to it.
func Counter() Expr { return expression("counter", nil) }

// Verdicts end a rule.
func verdict(code int32, chain string) Expr {
	v := put32(nil, unix.NFTA_VERDICT_CODE, uint32(code))
	if chain != "" {
		v = putString(v, unix.NFTA_VERDICT_CHAIN, chain)
	}
	a := put32(nil, unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT)
	return expression("immediate", nest(a, unix.NFTA_IMMEDIATE_DATA, nest(nil, unix.NFTA_DATA_VERDICT, v)))
}

// Accept lets the packet go on to the next base chain.
func Accept() Expr { return verdict(1, "") }

// Drop drops it.
func Drop() Expr { return verdict(0, "") }

// Jump goes through another chain.
func Jump(chain string) Expr { return verdict(unix.NFT_JUMP, chain) }

// Forward sends the packet out of another device; for the sender it is sent.
func Forward(ifindex uint32) []Expr {
	return []Expr{Load(binary.NativeEndian.AppendUint32(nil, ifindex)...), expression("fwd", put32(nil, unix.NFTA_FWD_SREG_DEV, register))}
}

// Queue hands the packet to a queue of user space. If nobody reads that queue the
// packet is dropped, and for its sender it was sent: that is how the kernel has
// always answered, and what NFQUEUE's manual says.
func Queue(num uint16) Expr {
	return expression("queue", put(nil, unix.NFTA_QUEUE_NUM, binary.BigEndian.AppendUint16(nil, num)...))
}

// QueueTarget is Queue for kernels that have iptables' target NFQUEUE and not nft's
// own expression.
func QueueTarget(num uint16) Expr {
	a := putString(nil, unix.NFTA_TARGET_NAME, "NFQUEUE")
	a = put32(a, unix.NFTA_TARGET_REV, 0)
	info := make([]byte, 8) // struct xt_NFQ_info, aligned
	binary.NativeEndian.PutUint16(info, num)
	return expression("target", put(a, unix.NFTA_TARGET_INFO, info...))
}

// NotIn goes on if the register is not in the set.
func NotIn(set string) Expr {
	a := put32(putString(nil, unix.NFTA_LOOKUP_SET, set), unix.NFTA_LOOKUP_SREG, register)
	return expression("lookup", put32(a, unix.NFTA_LOOKUP_FLAGS, unix.NFT_LOOKUP_F_INV))
}

// Load puts a value into the register.
func Load(value ...byte) Expr {
	a := put32(nil, unix.NFTA_IMMEDIATE_DREG, register)
	return expression("immediate", nest(a, unix.NFTA_IMMEDIATE_DATA, put(nil, unix.NFTA_DATA_VALUE, value...)))
}

// SocketGroup goes on if the packet's socket was made in the control group (v2)
// with that id, or below it. level is the group's depth; the root's is 0.
func SocketGroup(level uint32, id uint64) []Expr {
	const cgroup2, keyAttr, regAttr, levelAttr = 3, 1, 2, 3 // NFT_SOCKET_CGROUPV2, NFTA_SOCKET_*
	a := put32(put32(nil, keyAttr, cgroup2), regAttr, register)
	return []Expr{expression("socket", put32(a, levelAttr, level)), Is(binary.NativeEndian.AppendUint64(nil, id)...)}
}
