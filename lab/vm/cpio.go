package vm

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// archive builds an initramfs: a cpio archive of the format "newc", which the
// kernel unpacks into its first root.
type archive struct {
	b     bytes.Buffer
	inode int
	dirs  map[string]bool
}

// Types of a file in its mode (stat.h).
const (
	modeDir  = 0o040000
	modeFile = 0o100000
	modeLink = 0o120000
)

func newArchive() *archive { return &archive{dirs: map[string]bool{"": true}} }

// add writes an entry, and its parents before it.
func (a *archive) add(name string, mode int, data []byte) {
	name = strings.Trim(path.Clean(name), "/")
	if parent := path.Dir(name); parent != "." && !a.dirs[parent] {
		a.dir(parent)
	}
	a.inode++
	fmt.Fprintf(&a.b, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		a.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name)
	a.pad()
	a.b.Write(data)
	a.pad()
}

func (a *archive) pad() {
	a.b.Write(make([]byte, (4-a.b.Len()%4)%4))
}

func (a *archive) dir(name string) {
	if name = strings.Trim(path.Clean(name), "/"); !a.dirs[name] {
		a.dirs[name] = true
		a.add(name, modeDir|0o755, nil)
	}
}

func (a *archive) file(name string, data []byte, perm int) { a.add(name, modeFile|perm, data) }

func (a *archive) link(name, to string) { a.add(name, modeLink|0o777, []byte(to)) }

// writeTo ends the archive.
func (a *archive) writeTo(w io.Writer) error {
	end := &archive{dirs: a.dirs}
	end.add("TRAILER!!!", 0, nil)
	_, err := w.Write(slices.Concat(a.b.Bytes(), end.b.Bytes()))
	return err
}
