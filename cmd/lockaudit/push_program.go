package main

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"os"
)

// program is a file that is copied.
type program struct {
	path   string
	data   []byte
	sum    string // SHA-256 in hex
	arches []string
}

// readProgram reads a program whole, so that what is copied is what was looked at.
func readProgram(path string) (*program, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read program: %w", err)
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("read program %s: it is no Linux program: %w", path, err)
	}
	sum := sha256.Sum256(data)
	return &program{path: path, data: data, sum: hex.EncodeToString(sum[:]), arches: machines(f.Machine)}, nil
}

// machines are what `uname -m` says where a program runs.
func machines(m elf.Machine) []string {
	switch m {
	case elf.EM_X86_64:
		return []string{"x86_64"}
	case elf.EM_AARCH64:
		return []string{"aarch64", "arm64"}
	case elf.EM_386:
		return []string{"i386", "i486", "i586", "i686", "x86_64"}
	case elf.EM_ARM:
		return []string{"armv6l", "armv7l", "armv8l"}
	case elf.EM_PPC64:
		return []string{"ppc64le", "ppc64"}
	case elf.EM_S390:
		return []string{"s390x"}
	case elf.EM_RISCV:
		return []string{"riscv64"}
	}
	return []string{m.String()}
}

// goArch is Go's name of a machine, for the command that builds for it.
func goArch(machine string) string {
	switch machine {
	case "x86_64":
		return "amd64"
	case "aarch64", "arm64":
		return "arm64"
	case "i386", "i486", "i586", "i686":
		return "386"
	case "armv6l", "armv7l", "armv8l":
		return "arm"
	}
	return machine
}
