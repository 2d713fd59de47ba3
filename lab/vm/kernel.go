package vm

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Kernel is a series of Debian's cloud kernels, as fetch.sh unpacks them.
type Kernel string

// The kernels.
const (
	Bookworm Kernel = "6.1"  // has everything
	Bullseye Kernel = "5.10" // neither nftables tables with an owner (5.12) nor netdev egress (5.16)
)

// unpacked is a kernel on disk.
type unpacked struct {
	image   string
	modules map[string]string // file by name, with _ for -
	builtin map[string]bool
}

// Dir is where the kernels lie: $LOCKAUDIT_VM, else lockaudit/vm in the user's
// cache directory.
func Dir() (string, error) {
	if d := os.Getenv("LOCKAUDIT_VM"); d != "" {
		return d, nil
	}
	cache, err := os.UserCacheDir()
	return filepath.Join(cache, "lockaudit", "vm"), err
}

func (k Kernel) find() (unpacked, error) {
	dir, err := Dir()
	if err != nil {
		return unpacked{}, err
	}
	root := filepath.Join(dir, string(k))
	images, err := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return unpacked{}, errors.Join(fmt.Errorf("find kernel %s: not in %s; make vm-deps fetches it", k, root), err)
	}
	u := unpacked{image: images[0], modules: map[string]string{}, builtin: map[string]bool{}}
	err = filepath.WalkDir(filepath.Join(root, "lib", "modules"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name, ok := strings.CutSuffix(d.Name(), ".ko"); ok {
			u.modules[underscored(name)] = path
		}
		if d.Name() == "modules.builtin" {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(b)) {
				u.builtin[underscored(strings.TrimSuffix(filepath.Base(strings.TrimSpace(line)), ".ko"))] = true
			}
		}
		return nil
	})
	return u, err
}

func underscored(name string) string { return strings.ReplaceAll(name, "-", "_") }

// withDependencies lists the files of modules, what a module needs before it. The
// package brings no modules.dep, which depmod writes at installation; each module
// says itself what it depends on.
func (u unpacked) withDependencies(names []string) ([]string, error) {
	var files []string
	seen := map[string]bool{}
	var need func(name string) error
	need = func(name string) error {
		name = underscored(name)
		if seen[name] || u.builtin[name] {
			return nil
		}
		seen[name] = true
		file, ok := u.modules[name]
		if !ok {
			return fmt.Errorf("find module %s: %s has none of that name", name, filepath.Base(u.image))
		}
		depends, err := dependsOf(file)
		if err != nil {
			return err
		}
		for _, d := range depends {
			if err := need(d); err != nil {
				return err
			}
		}
		files = append(files, file)
		return nil
	}
	for _, n := range names {
		if err := need(n); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// dependsOf reads "depends=a,b" in the section .modinfo.
func dependsOf(file string) ([]string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil {
		return nil, fmt.Errorf("read module %s: no .modinfo", file)
	}
	b, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", file, err)
	}
	for info := range bytes.SplitSeq(b, []byte{0}) {
		if list, ok := strings.CutPrefix(string(info), "depends="); ok && list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}
