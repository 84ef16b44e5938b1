// Package hashmap remembers what a disk looked like when it was last captured: 8 bytes of keyed BLAKE3 for each block of
// dr.BlockSize, in a sparse file. Where a site cannot tell what changed, or tells it too coarsely, reading the disk and
// comparing with the map finds the blocks that differ, so that only they are sent.
//
// A map carries the ID of the capture that it reflects. It follows the vault in two steps: Diff collects new hashes
// beside the map, Stage makes them durable before the vault commits the capture, and Apply takes them over after it.
// Open is told the capture that the vault holds and goes forward or back to it, whatever was killed between; a map that
// cannot is not valid, never wrong.
//
// Files of a disk, under dir/<machine>:
//
//	<disk>.map    two header slots of 4 KiB, of which the valid one with the higher generation counts, then the hashes:
//	              0 for a block of zeros, else the first 8 bytes, little-endian, of the keyed BLAKE3 of the block (1 for 0)
//	<disk>.stage  a header of 4 KiB, pages of 4 KiB that replace those of the map, each at its place there, then a list of
//	              which pages these are, with their checksums
//
// Memory is bounded: a fixed number of pages is held, and five bytes per 2 MiB of disk.
package hashmap

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"
	"sync"

	"understudy/internal/dr"
)

const (
	pageSize      = 4096
	hashSize      = 8
	hashesPerPage = pageSize / hashSize
	tableStart    = 2 * pageSize          // of the hashes in a map
	pageSpan      = hashesPerPage * block // bytes of disk that a page describes
	block         = dr.BlockSize
)

// seedPrefix begins the capture IDs of maps whose seed is unfinished.
const seedPrefix = "seed"

// A Map is the hash map of one disk. Diff, DiffZero and Mark may be called from many goroutines at once, the first two
// on ranges that share no block; the other methods may not be called beside them or each other.
type Map struct {
	path    string
	fs      fileSystem
	file    file
	stage   file // nil before the first page of it
	header  header
	slot    int64 // where the header is
	hashers sync.Pool

	// unsure says that the hash 0 in the map may stand for a block that was sent: the seed was interrupted after parts
	// of it became durable and before Mark. Such blocks are emitted even when they are zeros.
	unsure bool

	mu      sync.Mutex
	cache   cache
	touched bitmap   // pages in the stage file, or on their way to it
	sums    []uint32 // checksums of pages in the stage file
	staged  string   // capture that Stage was called for, until Apply or Discard
	failed  error    // why nothing of the map can be used any more
}

// Open opens the map of a disk that reflects the capture, which must be the one that the vault holds. valid is false,
// and the map nil, when there is none. A map of another size is resized.
func Open(dir string, disk dr.DiskID, size int64, captureID string) (m *Map, valid bool, err error) {
	return open(osFiles{}, dir, disk, size, captureID)
}

func open(fsys fileSystem, dir string, disk dr.DiskID, size int64, captureID string) (m *Map, valid bool, err error) {
	if err := checkSize(size); err != nil {
		return nil, false, err
	}
	m = newMap(fsys, dir, disk)
	m.file, err = fsys.open(m.path+".map", false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("open hash map: %w", err)
	}
	defer func() {
		if !valid {
			err = errors.Join(err, m.Close())
			m = nil
		}
	}()
	if ok, err := m.readHeader(); err != nil || !ok {
		return m, false, err
	}
	if err := m.recover(captureID); err != nil {
		return m, false, err
	}
	if captureID == "" || m.header.captureID != captureID {
		return m, false, nil
	}
	m.unsure = m.seeding()
	if size != m.header.size {
		if err := m.Resize(size); err != nil {
			return m, false, err
		}
	}
	return m, true, nil
}

// Create makes an empty map, of a disk of zeros, that reflects no capture, in the place of any that there is.
func Create(dir string, disk dr.DiskID, size int64) (*Map, error) {
	return create(osFiles{}, dir, disk, size)
}

func create(fsys fileSystem, dir string, disk dr.DiskID, size int64) (_ *Map, err error) {
	if err := checkSize(size); err != nil {
		return nil, err
	}
	m := newMap(fsys, dir, disk)
	if err := fsys.makeDir(filepath.Dir(m.path)); err != nil {
		return nil, fmt.Errorf("create hash map: %w", err)
	}
	// A stage left from before must not meet the new map.
	if err := fsys.remove(m.path + ".stage"); err != nil {
		return nil, fmt.Errorf("create hash map: %w", err)
	}
	if m.file, err = fsys.open(m.path+".map", true); err != nil {
		return nil, fmt.Errorf("create hash map: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("create hash map: %w", err), m.file.Close())
		}
	}()
	// No header of the map before may come back beside the new one's.
	if err := m.file.Truncate(0); err != nil {
		return nil, err
	}
	if err := m.file.Sync(); err != nil {
		return nil, err
	}
	h := header{size: size}
	if _, err := rand.Read(h.key[:]); err != nil {
		return nil, err
	}
	if err := m.file.Truncate(tableEnd(size)); err != nil {
		return nil, err
	}
	if err := m.writeHeader(h); err != nil {
		return nil, err
	}
	if err := fsys.syncDir(filepath.Dir(m.path)); err != nil {
		return nil, err
	}
	return m, nil
}

func newMap(fsys fileSystem, dir string, disk dr.DiskID) *Map {
	m := &Map{fs: fsys, path: filepath.Join(dir, escape(disk.Machine), escape(disk.Disk))}
	m.hashers.New = func() any { return newHasher(m.header.key) }
	m.cache.init()
	return m
}

// escape makes any name the name of a file, each a different one.
func escape(name string) string {
	s := url.PathEscape(name)
	if s == "" || s[0] == '.' {
		s = "%2E" + strings.TrimPrefix(s, ".")
	}
	return s
}

func checkSize(size int64) error {
	if size < 0 || size > 1<<56 {
		return dr.WithHint(fmt.Errorf("hash map: impossible disk size %d", size), dr.KindInvalid, "")
	}
	return nil
}

func blocks(size int64) int64 { return (size + block - 1) / block }

func pages(size int64) int64 { return (blocks(size) + hashesPerPage - 1) / hashesPerPage }

func tableEnd(size int64) int64 { return tableStart + pages(size)*pageSize }

// CaptureID is the capture that the map reflects; empty for none.
func (m *Map) CaptureID() string { return m.header.captureID }

// Size is the size of the disk in bytes.
func (m *Map) Size() int64 { return m.header.size }

// Resize changes the size of the disk. What is new is zeros. No changes may be staged.
func (m *Map) Resize(size int64) error {
	if err := checkSize(size); err != nil {
		return err
	}
	if m.failed != nil {
		return m.failed
	}
	if m.touched.any() || m.staged != "" {
		return errors.New("resize hash map: changes are staged")
	}
	if size == m.header.size {
		return nil
	}
	if size < m.header.size {
		// Hashes of what is cut off must not come back when the disk grows again.
		if err := m.file.Truncate(tableStart + blocks(size)*hashSize); err != nil {
			return m.fail("resize", err)
		}
	}
	if err := m.file.Truncate(tableEnd(size)); err != nil {
		return m.fail("resize", err)
	}
	if err := m.file.Sync(); err != nil {
		return m.fail("resize", err)
	}
	m.cache.init()
	m.touched, m.sums = nil, nil
	h := m.header
	h.size = size
	if err := m.writeHeader(h); err != nil {
		return m.fail("resize", err)
	}
	return nil
}

// Close closes the map's files. Changes that were staged stay so; those that were not are lost.
func (m *Map) Close() error {
	err := m.file.Close()
	if m.stage != nil {
		err = errors.Join(err, m.stage.Close())
		m.stage = nil
	}
	return err
}

// fail makes the map unusable after an error that leaves it unknown what is in its files; Open finds out.
func (m *Map) fail(doing string, err error) error {
	m.failed = fmt.Errorf("%s hash map %s: %w", doing, m.path, err)
	return m.failed
}
