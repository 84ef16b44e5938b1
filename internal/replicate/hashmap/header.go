package hashmap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maxID bounds capture IDs, in bytes.
const maxID = 256

// A header is what a map says of itself. In the file it is magic, generation, size, length of the capture ID (8 bytes
// each, little-endian), the key, the ID, and at the end of the page the CRC-32C of all before.
type header struct {
	generation uint64
	size       int64
	captureID  string
	key        [32]byte
}

var mapMagic = []byte("USHMAP01")

func (h header) encode() []byte {
	p := make([]byte, pageSize)
	copy(p, mapMagic)
	binary.LittleEndian.PutUint64(p[8:], h.generation)
	binary.LittleEndian.PutUint64(p[16:], uint64(h.size))
	binary.LittleEndian.PutUint64(p[24:], uint64(len(h.captureID)))
	copy(p[32:], h.key[:])
	copy(p[64:], h.captureID)
	binary.LittleEndian.PutUint32(p[pageSize-4:], crc32.Checksum(p[:pageSize-4], castagnoli))
	return p
}

func decodeHeader(p []byte) (header, bool) {
	if len(p) != pageSize || !bytes.Equal(p[:8], mapMagic) ||
		binary.LittleEndian.Uint32(p[pageSize-4:]) != crc32.Checksum(p[:pageSize-4], castagnoli) {
		return header{}, false
	}
	n := binary.LittleEndian.Uint64(p[24:])
	h := header{generation: binary.LittleEndian.Uint64(p[8:]), size: int64(binary.LittleEndian.Uint64(p[16:]))}
	if n > maxID || checkSize(h.size) != nil {
		return header{}, false
	}
	copy(h.key[:], p[32:])
	h.captureID = string(p[64 : 64+n])
	return h, true
}

// readHeader reads the newer of the two headers; ok is false when there is none.
func (m *Map) readHeader() (ok bool, err error) {
	p := make([]byte, pageSize)
	for slot := range int64(2) {
		if err := readFull(m.file, p, slot*pageSize); err != nil {
			return false, fmt.Errorf("read hash map %s: %w", m.path, err)
		}
		if h, valid := decodeHeader(p); valid && (!ok || h.generation > m.header.generation) {
			m.header, m.slot, ok = h, slot, true
		}
	}
	return ok, nil
}

// writeHeader writes the next generation of the header, durably, into the slot that does not count now.
func (m *Map) writeHeader(h header) error {
	if len(h.captureID) > maxID {
		return fmt.Errorf("capture ID of %d bytes", len(h.captureID))
	}
	h.generation = m.header.generation + 1
	slot := 1 - m.slot
	if _, err := m.file.WriteAt(h.encode(), slot*pageSize); err != nil {
		return err
	}
	if err := m.file.Sync(); err != nil {
		return err
	}
	m.header, m.slot = h, slot
	return nil
}

// readFull reads all of p; what is after the end of the file reads as zeros.
func readFull(f file, p []byte, off int64) error {
	n, err := f.ReadAt(p, off)
	if errors.Is(err, io.EOF) {
		clear(p[n:])
		return nil
	}
	return err
}
