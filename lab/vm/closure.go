package vm

import (
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
)

// libraryDirs are where the loader looks, on Debian.
var libraryDirs = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/lib", "/usr/lib"}

// Closure is what a machine needs to run programs of this one: the programs with
// their loader and libraries, by the path in the machine. A program may come from an
// unpacked package: under is then that package's root, and at the path below it.
func Closure(under string, programs ...string) (map[string]string, error) {
	out := map[string]string{}
	for _, p := range programs {
		file := filepath.Join(under, p)
		out[p] = file
		if err := need(out, file, libraryDirs); err != nil {
			return nil, fmt.Errorf("find what %s needs: %w", file, err)
		}
	}
	return out, nil
}

// Join adds up closures.
func Join(all ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range all {
		maps.Copy(out, m)
	}
	return out
}

// need adds what a program or library asks for. What the program names itself is found
// for its libraries too: the loader has it by then.
func need(out map[string]string, file string, dirs []string) error {
	f, err := elf.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if s := f.Section(".interp"); s != nil {
		b, err := s.Data()
		if err != nil {
			return err
		}
		loader := strings.TrimRight(string(b), "\x00")
		out[loader] = loader
	}
	names, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	paths, _ := f.DynString(elf.DT_RUNPATH)
	for _, p := range paths {
		dirs = append(strings.Split(p, ":"), dirs...)
	}
	for _, name := range names {
		lib, err := library(name, dirs)
		if err != nil {
			return err
		}
		if out[lib] != "" {
			continue
		}
		out[lib] = lib
		if err := need(out, lib, dirs); err != nil {
			return err
		}
	}
	return nil
}

func library(name string, dirs []string) (string, error) {
	for _, d := range dirs {
		if _, err := os.Stat(filepath.Join(d, name)); err == nil {
			return filepath.Join(d, name), nil
		}
	}
	return "", errors.New("no library " + name)
}
