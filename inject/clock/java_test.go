package clock_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// inJava runs a Java program that speaks as testdata/clocks.c does, by
// System.currentTimeMillis and nanoTime. A Java runtime has no compiler, so the
// class is put together here.
func inJava(t *testing.T) *exec.Cmd {
	java, err := exec.LookPath("java")
	if err != nil {
		t.Fatalf("find java (apt-get install default-jre-headless): %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Clocks.class"), clocksClass(), 0o644); err != nil {
		t.Fatal(err)
	}
	return exec.Command(java, "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", dir, "Clocks")
}

// pool is the constant pool of a class file; each method returns an index.
type pool struct {
	bytes.Buffer
	n uint16
}

func (p *pool) add(tag byte, fields ...any) uint16 {
	p.WriteByte(tag)
	for _, f := range fields {
		_ = binary.Write(p, binary.BigEndian, f)
	}
	p.n++
	return p.n
}

func (p *pool) utf8(s string) uint16   { return p.add(1, uint16(len(s)), []byte(s)) }
func (p *pool) class(s string) uint16  { return p.add(7, p.utf8(s)) }
func (p *pool) string(s string) uint16 { return p.add(8, p.utf8(s)) }
func (p *pool) member(tag byte, class uint16, name, typ string) uint16 {
	return p.add(tag, class, p.add(12, p.utf8(name), p.utf8(typ)))
}

func clocksClass() []byte {
	const field, method = 9, 10
	p := &pool{}
	this, object := p.class("Clocks"), p.class("java/lang/Object")
	system, stream, input := p.class("java/lang/System"), p.class("java/io/PrintStream"), p.class("java/io/InputStream")
	out, in := p.member(field, system, "out", "Ljava/io/PrintStream;"), p.member(field, system, "in", "Ljava/io/InputStream;")
	millis, nano := p.member(method, system, "currentTimeMillis", "()J"), p.member(method, system, "nanoTime", "()J")
	printLong, printString := p.member(method, stream, "print", "(J)V"), p.member(method, stream, "print", "(Ljava/lang/String;)V")
	read := p.member(method, input, "read", "()I")
	ms, us, sep, end := p.string("000000 "), p.string("000 "), p.string(" "), p.string("\n")
	thousand := p.add(5, int64(1000))
	p.n++ // a long takes two places

	var code bytes.Buffer
	op := func(b byte, index uint16) {
		code.WriteByte(b)
		_ = binary.Write(&code, binary.BigEndian, index)
	}
	const getstatic, invokevirtual, invokestatic, ldcW, ldc2W, ldiv, iflt, gotoOp, returnOp = 0xb2, 0xb6, 0xb8, 0x13, 0x14, 0x6d, 0x9b, 0xa7, 0xb1
	number := func(source, then uint16, divide bool) {
		op(getstatic, out)
		op(invokestatic, source)
		if divide {
			op(ldc2W, thousand)
			code.WriteByte(ldiv)
		}
		op(invokevirtual, printLong)
		op(getstatic, out)
		op(ldcW, then)
		op(invokevirtual, printString)
	}
	number(millis, ms, false) // REALTIME in ns
	number(nano, sep, false)  // MONOTONIC in ns
	number(millis, us, false) // in µs
	number(millis, end, true) // in s
	op(getstatic, in)
	op(invokevirtual, read)
	at := code.Len()
	op(iflt, 6) // to the return
	op(gotoOp, uint16(-(at + 3)))
	code.WriteByte(returnOp)

	main, typ, codeName := p.utf8("main"), p.utf8("([Ljava/lang/String;)V"), p.utf8("Code")
	var b bytes.Buffer
	write := func(fields ...any) {
		for _, f := range fields {
			_ = binary.Write(&b, binary.BigEndian, f)
		}
	}
	const public, static = 1, 8
	// Version 49, Java 5: the last one that needs no map of the stack.
	write(uint32(0xcafebabe), uint16(0), uint16(49), p.n+1, p.Bytes())
	write(uint16(public|0x20), this, object, uint16(0), uint16(0))
	write(uint16(1), uint16(public|static), main, typ, uint16(1))
	write(codeName, uint32(12+code.Len()), uint16(5), uint16(1), uint32(code.Len()), code.Bytes(), uint16(0), uint16(0))
	write(uint16(0))
	return b.Bytes()
}
