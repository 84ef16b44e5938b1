package guest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// File types of the cpio mode word.
const (
	typeDir  = 0o040000
	typeFile = 0o100000
	typeLink = 0o120000
	typeChar = 0o020000
)

// A tree is the content of an initial RAM disk: entries by path without a leading slash.
type tree map[string]entry

type entry struct {
	mode         uint32
	data         []byte // a file's content or a link's target
	major, minor uint32 // of a device
}

func (t tree) file(name string, perm uint32, data []byte) {
	t.parents(name)
	t[name] = entry{mode: typeFile | perm, data: data}
}

func (t tree) link(name, target string) {
	t.parents(name)
	t[name] = entry{mode: typeLink | 0o777, data: []byte(target)}
}

func (t tree) device(name string, major, minor uint32) {
	t.parents(name)
	t[name] = entry{mode: typeChar | 0o600, major: major, minor: minor}
}

func (t tree) dir(name string) {
	t.parents(name)
	t[name] = entry{mode: typeDir | 0o755}
}

func (t tree) parents(name string) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if _, ok := t[dir]; !ok {
			t[dir] = entry{mode: typeDir | 0o755}
		}
	}
}

// writeCPIO writes the tree in the "newc" format that the Linux kernel unpacks
// (Documentation/driver-api/early-userspace/buffer-format.rst). Owners are root, times are zero, so that the same tree
// gives the same bytes.
func writeCPIO(w io.Writer, t tree) error {
	names := make([]string, 0, len(t))
	for name := range t {
		names = append(names, name)
	}
	slices.Sort(names) // a folder sorts before what it holds
	for i, name := range names {
		if err := writeEntry(w, uint32(i+1), name, t[name]); err != nil {
			return err
		}
	}
	return writeEntry(w, 0, "TRAILER!!!", entry{})
}

func writeEntry(w io.Writer, inode uint32, name string, e entry) error {
	links := uint32(1)
	if e.mode&typeDir != 0 && e.mode&typeFile != typeFile {
		links = 2
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		inode, e.mode, 0, 0, links, 0, len(e.data), 0, 0, e.major, e.minor, len(name)+1, 0)
	b.WriteString(name + "\x00")
	pad(&b)
	b.Write(e.data)
	pad(&b)
	_, err := w.Write(b.Bytes())
	return err
}

// pad aligns to four bytes; entries start aligned.
func pad(b *bytes.Buffer) {
	b.WriteString(strings.Repeat("\x00", -b.Len()&3))
}

var errCPIO = errors.New("not a cpio archive of the newc format")

// readCPIO is the inverse of writeCPIO.
func readCPIO(b []byte) (tree, error) {
	t := tree{}
	for len(b) >= 110 && string(b[:6]) == "070701" {
		var field [13]uint32
		for i := range field {
			if _, err := fmt.Sscanf(string(b[6+8*i:14+8*i]), "%08x", &field[i]); err != nil {
				return nil, fmt.Errorf("%w: %w", errCPIO, err)
			}
		}
		size, nameSize := int(field[6]), int(field[11])
		dataAt := (110 + nameSize + 3) &^ 3
		if nameSize < 1 || len(b) < dataAt+size {
			return nil, errCPIO
		}
		name := string(b[110 : 110+nameSize-1])
		if name == "TRAILER!!!" {
			return t, nil
		}
		t[name] = entry{mode: field[1], data: b[dataAt : dataAt+size], major: field[9], minor: field[10]}
		b = b[min(len(b), (dataAt+size+3)&^3):]
	}
	return nil, errCPIO
}
