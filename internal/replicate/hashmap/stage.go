package hashmap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
)

// The header of a stage file is magic, size of the disk, number of pages, length of the capture ID, generation of the
// map that the pages were collected over (8 bytes each, little-endian), the CRC-32C of the list of pages (4 bytes, then
// 4 of nothing), the key of the map, the ID, and at the end of the page the CRC-32C of all before. Generation and key
// tie it to one state of one map, so that a stage that comes back after a crash is not taken for another. The list is at the place after the last possible page: for each page its number and the
// CRC-32C of its bytes, 8 and 4 bytes. Whatever of all this is not on the disk after a crash is so found missing; no
// order of writing is needed, and one sync.
var stageMagic = []byte("USHSTG01")

const stageEntry = 12

// Stage makes the collected hashes durable as those of a capture, for Apply or for Open after a crash. It comes before
// the commit of the capture in the vault. After it nothing is collected until Apply or Discard.
func (m *Map) Stage(captureID string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return m.failed
	}
	if m.staged != "" {
		return fmt.Errorf("stage hash map: capture %s is staged already", m.staged)
	}
	if captureID == "" || len(captureID) > maxID {
		return fmt.Errorf("stage hash map: bad capture ID %q", captureID)
	}
	if m.stage == nil {
		// Nothing changed, but the map must be able to follow the vault all the same.
		if err := m.openStage(); err != nil {
			return m.fail("stage", err)
		}
	}
	for _, p := range m.cache.byIndex {
		if err := m.flush(p); err != nil {
			return m.fail("stage", err)
		}
	}
	var entries []byte
	for i := m.touched.next(0); i >= 0; i = m.touched.next(i + 1) {
		entries = binary.LittleEndian.AppendUint64(entries, uint64(i))
		entries = binary.LittleEndian.AppendUint32(entries, m.sums[i])
	}
	h := make([]byte, pageSize)
	copy(h, stageMagic)
	binary.LittleEndian.PutUint64(h[8:], uint64(m.header.size))
	binary.LittleEndian.PutUint64(h[16:], uint64(len(entries)/stageEntry))
	binary.LittleEndian.PutUint64(h[24:], uint64(len(captureID)))
	binary.LittleEndian.PutUint64(h[32:], m.header.generation)
	binary.LittleEndian.PutUint32(h[40:], crc32.Checksum(entries, castagnoli))
	copy(h[48:], m.header.key[:])
	copy(h[80:], captureID)
	binary.LittleEndian.PutUint32(h[pageSize-4:], crc32.Checksum(h[:pageSize-4], castagnoli))
	if _, err := m.stage.WriteAt(entries, tableEnd(m.header.size)); err != nil {
		return m.fail("stage", err)
	}
	if _, err := m.stage.WriteAt(h, 0); err != nil {
		return m.fail("stage", err)
	}
	if err := m.stage.Sync(); err != nil {
		return m.fail("stage", err)
	}
	m.staged = captureID
	return nil
}

// readStage reads which capture and pages the stage file is of; ok is false when it is not whole.
func (m *Map) readStage(captureID string) (ok bool, err error) {
	h := make([]byte, pageSize)
	if err := readFull(m.stage, h, 0); err != nil {
		return false, err
	}
	n, idLen := binary.LittleEndian.Uint64(h[16:]), binary.LittleEndian.Uint64(h[24:])
	if !bytes.Equal(h[:8], stageMagic) || binary.LittleEndian.Uint32(h[pageSize-4:]) != crc32.Checksum(h[:pageSize-4], castagnoli) ||
		idLen > maxID || string(h[80:80+idLen]) != captureID || !bytes.Equal(h[48:80], m.header.key[:]) || int64(binary.LittleEndian.Uint64(h[8:])) != m.header.size ||
		n > uint64(pages(m.header.size)) {
		return false, nil
	}
	over := binary.LittleEndian.Uint64(h[32:])
	// When an Apply of it was cut short the map is one generation on, of no capture.
	begun := m.header.generation == over+1 && m.header.captureID == ""
	if m.header.generation != over && !begun {
		return false, nil
	}
	entries := make([]byte, n*stageEntry)
	if err := readFull(m.stage, entries, tableEnd(m.header.size)); err != nil {
		return false, err
	}
	if crc32.Checksum(entries, castagnoli) != binary.LittleEndian.Uint32(h[40:]) {
		return false, nil
	}
	m.touched = newBitmap(pages(m.header.size))
	m.sums = make([]uint32, pages(m.header.size))
	var p [pageSize]byte
	for ; len(entries) > 0; entries = entries[stageEntry:] {
		i := int64(binary.LittleEndian.Uint64(entries))
		if i < 0 || i >= pages(m.header.size) {
			return false, nil
		}
		if err := readFull(m.stage, p[:], tableStart+i*pageSize); err != nil {
			return false, err
		}
		m.sums[i] = binary.LittleEndian.Uint32(entries[8:])
		if crc32.Checksum(p[:], castagnoli) != m.sums[i] {
			return false, nil
		}
		m.touched.set(i)
	}
	return true, nil
}

// Apply takes the staged hashes over into the map. It comes after the commit of the capture in the vault. When it
// fails the map is unusable until it is opened again.
func (m *Map) Apply() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return m.failed
	}
	if m.staged == "" {
		return errors.New("apply hash map: nothing is staged")
	}
	return m.apply(m.staged)
}

// apply copies the staged pages. The caller holds mu.
func (m *Map) apply(captureID string) error {
	next := m.header
	if m.touched.any() && next.captureID != "" {
		// While the pages are mixed the map is of no capture, even to a vault that was put back to the one before.
		next.captureID = ""
		if err := m.writeHeader(next); err != nil {
			return m.fail("apply", err)
		}
	}
	var p [pageSize]byte
	for i := m.touched.next(0); i >= 0; i = m.touched.next(i + 1) {
		if err := readFull(m.stage, p[:], tableStart+i*pageSize); err != nil {
			return m.fail("apply", err)
		}
		if crc32.Checksum(p[:], castagnoli) != m.sums[i] {
			return m.fail("apply", fmt.Errorf("staged page %d was damaged", i))
		}
		if _, err := m.file.WriteAt(p[:], tableStart+i*pageSize); err != nil {
			return m.fail("apply", err)
		}
	}
	if m.touched.any() {
		if err := m.file.Sync(); err != nil {
			return m.fail("apply", err)
		}
	}
	next.captureID = captureID
	if err := m.writeHeader(next); err != nil {
		return m.fail("apply", err)
	}
	m.unsure = false
	return m.forget()
}

// Discard gives the collected or staged hashes up: the capture was not committed.
func (m *Map) Discard() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return m.failed
	}
	// Parts of a seed that were sent stay in it, and not all of them need to have been marked.
	m.unsure = m.seeding()
	return m.forget()
}

// forget empties the stage, in memory and on disk. The caller holds mu.
func (m *Map) forget() error {
	m.cache.init()
	m.touched, m.sums, m.staged = nil, nil, ""
	if m.stage == nil {
		return nil
	}
	// Not synced: what comes back after a crash is of a capture that the vault has not, or of an older map.
	if err := m.stage.Truncate(0); err != nil {
		return m.fail("empty stage of", err)
	}
	return nil
}

// openStage makes the stage file, by a name that is durable.
func (m *Map) openStage() error {
	f, err := m.fs.open(m.path+".stage", true)
	if err != nil {
		return err
	}
	m.stage = f
	return m.fs.syncDir(filepath.Dir(m.path))
}

// recover goes forward to the capture if it is staged, and empties the stage otherwise.
func (m *Map) recover(captureID string) (err error) {
	m.stage, err = m.fs.open(m.path+".stage", false)
	if errors.Is(err, fs.ErrNotExist) {
		m.stage = nil
		return nil
	}
	if err != nil {
		return fmt.Errorf("open stage of hash map: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if captureID != "" && m.header.captureID != captureID {
		ok, err := m.readStage(captureID)
		if err != nil {
			return m.fail("recover", err)
		}
		if ok {
			return m.apply(captureID)
		}
	}
	return m.forget()
}

// Mark takes the collected hashes of a range into the map at once, while a seed goes on: what was sent of the range
// is durable and will be part of the seed, even if this one is interrupted and another goes on from it. It does not
// wait for the disk: a mark that is lost costs sending the range again. off and n are as for Diff.
func (m *Map) Mark(off, n int64) error {
	if err := m.check("mark in", off, n); err != nil || n == 0 {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return m.failed
	}
	for b, last := off/block, blocks(off+n); b < last; {
		index := b / hashesPerPage
		to := min((index+1)*hashesPerPage, last)
		if !m.touched.has(index) {
			// Nothing was collected in this page or the following ones.
			if index = m.touched.next(index); index < 0 {
				return nil
			}
			b = index * hashesPerPage
			continue
		}
		p, err := m.page(index)
		if err != nil {
			return m.fail("read", err)
		}
		from := (b % hashesPerPage) * hashSize
		if _, err := m.file.WriteAt(p.data[from:(to-index*hashesPerPage)*hashSize], tableStart+index*pageSize+from); err != nil {
			return m.fail("mark in", err)
		}
		b = to
	}
	return nil
}
