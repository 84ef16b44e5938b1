// Package ext4 reads files of ext2, ext3 and ext4 file systems that nobody has mounted. It trusts nothing of what it
// reads: what does not fit is an error, and what is read is bounded. The journal is not replayed, so what was written in
// the last seconds before a crash consistent instant may be missing.
// The format: https://docs.kernel.org/filesystems/ext4/
package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

const (
	superblockAt = 1024
	magic        = 0xef53
	rootInode    = 2
	maxDirectory = 32 << 20 // bytes that are read of one
	maxLinks     = 40       // symbolic links on one path
	maxDepth     = 5        // of a tree of extents

	// Features that change what is read here and are not known here: compression, journal devices, meta block groups, dirdata.
	unknownFeatures = 0x1 | 0x8 | 0x10 | 0x1000
	feature64       = 0x80
	featureRecover  = 0x4

	flagExtents   = 0x80000
	flagInline    = 0x10000000
	flagEncrypted = 0x800
)

// FS is a file system.
type FS struct {
	r              io.ReaderAt
	size           int64 // bytes
	block          int64 // bytes
	inodes         uint32
	inodesPerGroup uint32
	inodeSize      int64
	descSize       int64
	descAt         int64

	UUID  string
	Label string
	// Unreplayed says that the journal holds what the file system does not: it was in use.
	Unreplayed bool
}

var le = binary.LittleEndian

func bad(format string, args ...any) error {
	return fmt.Errorf("ext4: "+format, args...)
}

// Open reads the superblock of a file system of at most size bytes.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	sb := make([]byte, 1024)
	if _, err := r.ReadAt(sb, superblockAt); err != nil {
		return nil, fmt.Errorf("ext4: read superblock: %w", err)
	}
	if le.Uint16(sb[0x38:]) != magic {
		return nil, bad("no superblock")
	}
	f := &FS{r: r, size: size, inodes: le.Uint32(sb), inodesPerGroup: le.Uint32(sb[0x28:]), inodeSize: 128, descSize: 32,
		Label: strings.TrimRight(string(sb[0x78:0x88]), "\x00")}
	u := sb[0x68:0x78]
	f.UUID = fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
	if log := le.Uint32(sb[0x18:]); log <= 6 {
		f.block = 1024 << log
	} else {
		return nil, bad("blocks of 2^%d KiB", log)
	}
	features := le.Uint32(sb[0x60:])
	if le.Uint32(sb[0x4c:]) > 0 {
		f.inodeSize = int64(le.Uint16(sb[0x58:]))
	}
	blocks := int64(le.Uint32(sb[0x4:]))
	if features&feature64 != 0 {
		f.descSize = int64(le.Uint16(sb[0xfe:]))
		blocks |= int64(le.Uint32(sb[0x150:])) << 32
	}
	f.Unreplayed = features&featureRecover != 0
	f.descAt = (int64(le.Uint32(sb[0x14:])) + 1) * f.block
	switch {
	case features&unknownFeatures != 0:
		return nil, bad("features %#x are not known", features&unknownFeatures)
	case f.inodeSize < 128 || f.inodeSize > f.block || f.descSize < 32 || f.descSize > 1024 || f.inodesPerGroup == 0:
		return nil, bad("the superblock makes no sense")
	case blocks <= 0 || blocks > size/f.block:
		return nil, bad("%d blocks of %d bytes do not fit in %d bytes", blocks, f.block, size)
	}
	f.size = blocks * f.block
	return f, nil
}

func (f *FS) read(off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || n > f.size || off > f.size-n {
		return nil, bad("%d bytes at %d are outside of the file system", n, off)
	}
	p := make([]byte, n)
	if _, err := f.r.ReadAt(p, off); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return p, nil
}

type inode struct {
	mode  uint16
	size  int64
	flags uint32
	block []byte // 60 bytes
}

func (i inode) kind() uint16  { return i.mode & 0xf000 }
func (i inode) isDir() bool   { return i.kind() == 0x4000 }
func (i inode) isFile() bool  { return i.kind() == 0x8000 }
func (i inode) isLink() bool  { return i.kind() == 0xa000 }
func (i inode) extents() bool { return i.flags&flagExtents != 0 }

func (f *FS) inode(n uint32) (i inode, err error) {
	if n == 0 || n > f.inodes {
		return i, bad("there is no inode %d", n)
	}
	group, index := int64((n-1)/f.inodesPerGroup), int64((n-1)%f.inodesPerGroup)
	d, err := f.read(f.descAt+group*f.descSize, f.descSize)
	if err != nil {
		return i, err
	}
	table := int64(le.Uint32(d[8:]))
	if f.descSize >= 64 {
		table |= int64(le.Uint32(d[0x28:])) << 32
	}
	if table < 0 || table > f.size/f.block {
		return i, bad("the inodes of group %d are outside of the file system", group)
	}
	p, err := f.read(table*f.block+index*f.inodeSize, 128)
	if err != nil {
		return i, err
	}
	i = inode{mode: le.Uint16(p), size: int64(le.Uint32(p[4:])), flags: le.Uint32(p[0x20:]), block: p[0x28:0x64]}
	if i.isFile() || i.isDir() {
		i.size |= int64(le.Uint32(p[0x6c:])) << 32
	}
	if i.size < 0 {
		return i, bad("inode %d has a size below zero", n)
	}
	return i, nil
}

// content reads all that a file holds, at most limit bytes of it.
func (f *FS) content(i inode, limit int64) ([]byte, error) {
	switch {
	case i.flags&flagEncrypted != 0:
		return nil, bad("it is encrypted")
	case i.flags&flagInline != 0 && (i.isDir() || i.size > 60):
		return nil, bad("data within inodes is not read")
	case i.size > limit:
		return nil, bad("it has %d bytes, more than %d", i.size, limit)
	case i.flags&flagInline != 0 || i.isLink() && i.size < 60 && !i.extents():
		return append([]byte(nil), i.block[:i.size]...), nil
	}
	p := make([]byte, i.size)
	var err error
	if i.extents() {
		err = f.fillExtents(p, i.block, maxDepth)
	} else {
		err = f.fillBlocks(p, i.block)
	}
	return p, err
}

// put reads count blocks from start on into the place of block at in p.
func (f *FS) put(p []byte, at, start, count int64) error {
	off := at * f.block
	if off < 0 || off >= int64(len(p)) {
		return nil
	}
	data, err := f.read(start*f.block, min(count*f.block, int64(len(p))-off))
	if err == nil {
		copy(p[off:], data)
	}
	return err
}

func (f *FS) fillExtents(p, node []byte, depth int) error {
	if depth < 0 || le.Uint16(node) != 0xf30a {
		return bad("a tree of extents is damaged")
	}
	entries, level := int(le.Uint16(node[2:])), le.Uint16(node[6:])
	if 12+12*entries > len(node) {
		return bad("a tree of extents is damaged")
	}
	for k := range entries {
		e := node[12+12*k:]
		at := int64(le.Uint32(e))
		if level == 0 {
			n := int64(le.Uint16(e[4:]))
			if n > 32768 {
				continue // was given to the file and never written: reads as zeros
			}
			if err := f.put(p, at, int64(le.Uint16(e[6:]))<<32|int64(le.Uint32(e[8:])), n); err != nil {
				return err
			}
			continue
		}
		if at*f.block >= int64(len(p)) {
			continue
		}
		child, err := f.read((int64(le.Uint16(e[8:]))<<32|int64(le.Uint32(e[4:])))*f.block, f.block)
		if err != nil {
			return err
		}
		// Levels fall on the way down, so that a tree that leads back to itself ends.
		if len(child) < 12 || le.Uint16(child[6:]) >= level {
			return bad("a tree of extents is damaged")
		}
		if err := f.fillExtents(p, child, depth-1); err != nil {
			return err
		}
	}
	return nil
}

// fillBlocks reads by the maps of ext2 and ext3: twelve blocks, then those of one, two and three levels of indirection.
func (f *FS) fillBlocks(p, node []byte) error {
	at, total := int64(0), (int64(len(p))+f.block-1)/f.block
	var walk func(n uint32, level int) error
	walk = func(n uint32, level int) error {
		if at >= total {
			return nil
		}
		per := int64(1)
		for range level {
			per *= f.block / 4
		}
		if n == 0 { // a hole
			at += per
			return nil
		}
		if level == 0 {
			at++
			return f.put(p, at-1, int64(n), 1)
		}
		list, err := f.read(int64(n)*f.block, f.block)
		for k := int64(0); err == nil && k < f.block && at < total; k += 4 {
			err = walk(le.Uint32(list[k:]), level-1)
		}
		return err
	}
	for k := range 15 {
		if err := walk(le.Uint32(node[4*k:]), max(0, k-11)); err != nil {
			return err
		}
	}
	return nil
}

// children are the entries of a directory: inodes by name.
func (f *FS) children(i inode) (map[string]uint32, error) {
	p, err := f.content(i, maxDirectory)
	if err != nil {
		return nil, err
	}
	out := map[string]uint32{}
	for ; len(p) >= 12; p = p[min(f.block, int64(len(p))):] {
		block := p[:min(f.block, int64(len(p)))]
		for len(block) >= 8 {
			length, name := int(le.Uint16(block[4:])), int(block[6])
			if length < 8 || length > len(block) || 8+name > length {
				break // the rest of this block is no entries
			}
			if n := le.Uint32(block); n != 0 && name > 0 {
				out[string(block[8:8+name])] = n
			}
			block = block[length:]
		}
	}
	return out, nil
}

// find resolves a path, with the symbolic links on it.
func (f *FS) find(name string) (inode, error) {
	fail := func(err error) (inode, error) { return inode{}, &fs.PathError{Op: "open", Path: name, Err: err} }
	rest := strings.Split(strings.Trim(path.Clean("/"+name), "/"), "/")
	at, err := f.inode(rootInode)
	if err != nil {
		return fail(err)
	}
	above, links := []inode{at}, 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(above) > 1 {
				above = above[:len(above)-1]
			}
			at = above[len(above)-1]
			continue
		}
		if !at.isDir() {
			return fail(fs.ErrNotExist)
		}
		list, err := f.children(at)
		if err != nil {
			return fail(err)
		}
		n, ok := list[part]
		if !ok {
			return fail(fs.ErrNotExist)
		}
		next, err := f.inode(n)
		if err != nil {
			return fail(err)
		}
		if next.isLink() {
			if links++; links > maxLinks {
				return fail(errors.New("too many symbolic links"))
			}
			to, err := f.content(next, 4096)
			if err != nil {
				return fail(err)
			}
			if strings.HasPrefix(string(to), "/") {
				above = above[:1]
				at = above[0]
			}
			rest = append(strings.Split(string(to), "/"), rest...)
			continue
		}
		if at = next; at.isDir() {
			above = append(above, at)
		}
	}
	return at, nil
}

// ReadFile reads a file of at most limit bytes. One that is not there is fs.ErrNotExist.
func (f *FS) ReadFile(name string, limit int64) ([]byte, error) {
	i, err := f.find(name)
	if err != nil {
		return nil, err
	}
	if !i.isFile() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("it is no file")}
	}
	data, err := f.content(i, limit)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return data, nil
}

// ReadDir lists the names in a directory, in no order. One that is not there is fs.ErrNotExist.
func (f *FS) ReadDir(name string) ([]string, error) {
	i, err := f.find(name)
	if err != nil {
		return nil, err
	}
	if !i.isDir() {
		return nil, &fs.PathError{Op: "list", Path: name, Err: fs.ErrNotExist}
	}
	list, err := f.children(i)
	if err != nil {
		return nil, &fs.PathError{Op: "list", Path: name, Err: err}
	}
	var out []string
	for name := range list {
		if name != "." && name != ".." {
			out = append(out, name)
		}
	}
	return out, nil
}

// Exists reports whether there is something of a name.
func (f *FS) Exists(name string) bool {
	_, err := f.find(name)
	return err == nil
}
